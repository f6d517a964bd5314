"""Restores and copies that would go where they should not: nothing is written there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest

import fastdump
from fastdump.codec import archive
from fastdump.engine.restore.filters import Filters
from fastdump.engine.restore.planning import plan_restore
from fastdump.engine.restore.run import restore
from fastdump.errors import UsageError
from fastdump.model import LoadOptions, Namespace
from fastdump.places import source
from fastdump.progress import Silent
from tests.conftest import Run, Server
from tests.proxy import WireProxy

DOCUMENT = bson.encode({"_id": 1})
OWN = "of_fastdumps_tests"
"""A collection that no server has by itself."""


def as_folder(path: Path, names: list[Namespace]) -> Path:
    """Write what mongodump writes, one document for each collection."""
    for database, name in names:
        (path / database).mkdir(parents=True, exist_ok=True)
        (path / database / f"{name}.bson").write_bytes(DOCUMENT)
        (path / database / f"{name}.metadata.json").write_text('{"options":{},"indexes":[]}')
    return path


def as_archive(path: Path, names: list[Namespace]) -> Path:
    described = [archive.Described(one, b'{"indexes": []}', "collection") for one in names]
    blocks = [
        archive.block(one, DOCUMENT) + archive.end(one, archive.crc64(DOCUMENT)) for one in names
    ]
    path.write_bytes(archive.prelude(1, "6.0.5", "test", described) + b"".join(blocks))
    return path


FORMS = pytest.mark.parametrize("write", [as_folder, as_archive])
Write = Callable[[Path, list[Namespace]], Path]


def holds(server: Server, database: str) -> set[str]:
    with server.client() as client:
        return set(client[database].list_collection_names())


@FORMS
def test_the_servers_own_databases_are_left_out(
    fastdump: Run, server: Server, tmp_path: Path, write: Write
) -> None:
    database = server.new_database()
    names = [Namespace(one, OWN) for one in (database, "config", "local")]
    path = write(tmp_path / "dump", names)
    done = fastdump("restore", "--target-uri", server.uri, "-y", path)
    assert done.code == 0, done.err
    assert "the database config of" in done.out + done.err
    assert "the database local of" in done.out + done.err
    assert holds(server, database) == {OWN}
    assert OWN not in holds(server, "config") | holds(server, "local")


@FORMS
def test_config_if_it_is_named_and_local_never(
    server: Server, tmp_path: Path, write: Write
) -> None:
    path = write(tmp_path / "dump", [Namespace("config", OWN), Namespace("local", OWN)])
    with pytest.raises(UsageError, match=r"nothing to restore: .* --ns-include 'config\.\*'"):
        fastdump.restore(server.uri, name=path)
    with pytest.raises(UsageError, match=r"the database local .* is never written"):
        fastdump.restore(
            server.uri, name=path, namespaces=fastdump.NamespaceFilter(include=["local.*"])
        )
    with pytest.raises(UsageError, match=r"the database local .* is never written"):
        fastdump.restore(
            server.uri,
            name=path,
            namespaces=fastdump.NamespaceFilter(rename=[("config.*", "local.*")]),
        )
    assert OWN not in holds(server, "config") | holds(server, "local")
    try:
        report = fastdump.restore(
            server.uri, name=path, namespaces=fastdump.NamespaceFilter(include=["config.*"])
        )
        assert report.complete
        assert (OWN in holds(server, "config"), OWN in holds(server, "local")) == (True, False)
    finally:
        with server.client() as client:
            client["config"][OWN].drop()


def test_elsewhere_they_may_go(server: Server, tmp_path: Path) -> None:
    """They are chosen by their names, or by the making of a backup that holds nothing else."""
    target = server.new_database()
    path = as_folder(tmp_path / "dump", [Namespace("app", OWN), Namespace("local", OWN)])
    fastdump.restore(
        server.uri,
        name=path,
        namespaces=fastdump.NamespaceFilter(
            rename=[("local.*", f"{target}.*")], include=["local.*"]
        ),
    )
    assert holds(server, target) == {OWN}
    other = server.new_database()
    with server.client() as client:
        client["config"][OWN].insert_one({"_id": 1})
        fastdump.backup(
            server.uri,
            db="config",
            folder=tmp_path / "b",
            collections=fastdump.CollectionFilter(include=[OWN]),
        )
        client["config"][OWN].drop()
    fastdump.restore(server.uri, target_db=other, folder=tmp_path / "b")
    assert holds(server, other) == {OWN}
    with pytest.raises(UsageError, match="never written"):
        fastdump.restore(server.uri, target_db="local", folder=tmp_path / "b")
    assert OWN not in holds(server, "local")


def test_no_copy_into_local(server: Server, replica_set: Server) -> None:
    database = server.new_database()
    with server.client() as client:
        client[database][OWN].insert_one({"_id": 1})
    with pytest.raises(UsageError, match="never written"):
        fastdump.copy(server.uri, replica_set.uri, db=database, target_db="local")
    assert OWN not in holds(replica_set, "local")


LONG = "x" * 230
"""The name of a collection that fits only into a database with a short name."""


@FORMS
@pytest.mark.parametrize("drop", [False, True])
def test_a_name_that_is_too_long_is_known_before(
    server: Server, tmp_path: Path, write: Write, drop: bool
) -> None:
    """Its bytes count, not its letters, and the rest is restored."""
    target = f"{server.new_database()}{'é' * 10}"
    path = write(tmp_path / "dump", [Namespace("app", LONG), Namespace("app", "short")])
    plan = plan_restore(
        server.connection, source(tmp_path, str(path)), str(path),
        workers=1, how=LoadOptions(drop=drop), filters=Filters(target),
    )  # fmt: skip
    (said,) = plan.notes
    assert f"{target}.{LONG}: the names of database and collection have 288 bytes" in said
    report = restore(plan, workers=1, reporter=Silent())
    assert (report.failures, report.inserted) == ((said,), 1)
    assert holds(server, target) == {"short"}


@pytest.mark.needs("time series")
def test_the_buckets_of_a_time_series_may_have_longer_names(server: Server, tmp_path: Path) -> None:
    database, name = "s" * 10, "x" * 235
    with server.client() as client:
        client[database].create_collection(name, timeseries={"timeField": "at"})
        client[database][name].insert_one({"at": datetime.now(UTC)})
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    report = fastdump.restore(server.uri, target_db="t" * 19, folder=tmp_path)
    assert (report.complete, report.inserted) == (True, 1)
    report = fastdump.restore(server.uri, target_db="t" * 20, folder=tmp_path)
    (said,) = report.failures
    assert "have 256 bytes" in said


def test_a_copy_of_what_has_too_long_a_name(
    fastdump: Run, server: Server, replica_set: Server
) -> None:
    database, target = server.new_database()[:20], f"{server.new_database()}_of_a_copy"
    with server.client() as client:
        for name in (LONG, "short"):
            client[database][name].insert_one({"_id": 1})
    done = fastdump(
        "copy", "--uri", server.uri, "--db", database, "--target-uri", replica_set.uri,
        "--target-db", target, "-y",
    )  # fmt: skip
    assert done.code == 1
    assert "note: " in done.out + done.err
    assert f"{target}.{LONG}: the names of database and collection" in done.err
    assert holds(replica_set, target) == {"short"}


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32])
def test_a_database_whose_name_is_too_long(server: Server, tmp_path: Path, name: str) -> None:
    path = as_folder(tmp_path / "dump", [Namespace("app", "c")])
    with pytest.raises(UsageError, match="of a database is too long"):
        fastdump.restore(server.uri, name=path, target_db=name)


def test_a_database_whose_name_differs_in_case_only(
    fastdump: Run, server: Server, replica_set: Server, tmp_path: Path
) -> None:
    with server.client() as client:
        client["Wrong_Case"]["there"].insert_one({"_id": 1})
    path = as_folder(tmp_path / "dump", [Namespace(one, "c") for one in ("other", "wrong_case")])
    with replica_set.client() as client:
        client["other"]["c"].insert_one({"_id": 1})
    commands = [
        ("restore", path),
        ("restore", "--drop", path),
        ("restore", "--ns-include", "other.*", "--target-db", "wrong_case", path),
        ("copy", "--uri", replica_set.uri, "--db", "other", "--target-db", "wrong_case"),
    ]
    for command in commands:
        done = fastdump(*command, "--target-uri", server.uri, "-y")
        assert done.code == 2, done.err
        assert "the databases 'wrong_case' and 'Wrong_Case' cannot both exist" in done.err
        assert done.err.count("\n") == 1
    assert holds(server, "other") == set()
    done = fastdump(
        "restore", path, "--ns-include", "other.*", "--target-db", "Wrong_Case", "--target-uri",
        server.uri, "-y",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert holds(server, "Wrong_Case") == {"there", "c"}


def test_two_databases_of_one_restore(server: Server, tmp_path: Path) -> None:
    path = as_folder(tmp_path / "dump", [Namespace("a", "c"), Namespace("b", "c")])
    with pytest.raises(UsageError, match="and 'twice' cannot both exist"):
        fastdump.restore(
            server.uri,
            name=path,
            namespaces=fastdump.NamespaceFilter(rename=[("a.*", "twice.*"), ("b.*", "Twice.*")]),
        )


def test_a_server_that_does_not_list_its_databases(server: Server, tmp_path: Path) -> None:
    target = server.new_database()
    path = as_folder(tmp_path / "dump", [Namespace("app", "c")])
    with WireProxy(server.uri) as proxy:
        proxy.refuse("listDatabases", 13, "not authorized on admin")
        assert fastdump.restore(proxy.uri, name=path, target_db=target).complete
