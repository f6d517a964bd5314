"""Restores and copies that would go where they should not: nothing is written there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bson
import pytest

import fastdump
from fastdump.codec import archive
from fastdump.errors import UsageError
from fastdump.model import Namespace
from tests.conftest import Run, Server

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
        fastdump.restore(server.uri, name=path, include=["local.*"])
    with pytest.raises(UsageError, match=r"the database local .* is never written"):
        fastdump.restore(server.uri, name=path, rename=[("config.*", "local.*")])
    assert OWN not in holds(server, "config") | holds(server, "local")
    try:
        report = fastdump.restore(server.uri, name=path, include=["config.*"])
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
        server.uri, name=path, rename=[("local.*", f"{target}.*")], include=["local.*"]
    )
    assert holds(server, target) == {OWN}
    other = server.new_database()
    with server.client() as client:
        client["config"][OWN].insert_one({"_id": 1})
        fastdump.backup(server.uri, db="config", folder=tmp_path / "b", collections=[OWN])
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
