"""Time series of MongoDB 9.0, whose buckets have no name of their own: acted out by a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pymongo.database import Database

import fastdump
from benchmarks.shapes import insert
from fastdump.codec import archive
from fastdump.codec.archive import Block
from fastdump.engine import planner
from fastdump.model import LoadOptions, Namespace
from fastdump.mongo.bucket_access import access_to
from tests.acted import HiddenBuckets, refuse_mixed_buckets
from tests.conftest import Run, Server
from tests.integration.test_oplog import OPLOG, REPLAY, during
from tests.integration.test_time_series import (
    BEGIN,
    LAYOUTS,
    Document,
    allow_mixed,
    backed_up,
    measured,
    measurements,
    mixed,
    same,
)
from tests.proxy import WireProxy

pytestmark = pytest.mark.needs("time series")


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


@pytest.fixture(params=[False, True], ids=["hidden", "listed"])
def hidden(proxy: WireProxy, request: pytest.FixtureRequest) -> Iterator[HiddenBuckets]:
    """The server does not list buckets, or lists them and refuses to read them all the same."""
    found = HiddenBuckets(proxy, listed=request.param)
    yield found
    # Where they are listed, somebody must ask whether they may be named; nothing else does.
    assert found.refused.keys() <= ({"find"} if request.param else set())


def series(server: Server, database: str, count: int = 300) -> None:
    """A series with an index of its own, and two collections with nothing special."""
    measured(server, database, range(count))
    with server.client() as client:
        client[database]["s"].create_index({"m": 1, "at": -1}, name="latest first")
    for name in ("plain", "system"):
        insert(server.connection, database, name, ({"_id": n} for n in range(20)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hidden_series_comes_back(
    proxy: WireProxy, hidden: HiddenBuckets, any_server: Server, tmp_path: Path, layout: str
) -> None:
    """In every layout, to a server of the same kind and to one that names buckets, and again."""
    database, target, older = (any_server.new_database() for _place in range(3))
    series(any_server, database)
    out = backed_up(Server(proxy.uri), database, tmp_path, layout)
    assert hidden.raw["find"] > 0
    for inserted in (43, 0):
        report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, name=out)
        assert (report.complete, report.inserted, report.replaced) == (True, inserted, 0)
        assert same(any_server, database, target)
    assert hidden.raw["insert"] > 0
    report = fastdump.restore(any_server.uri, target_db=older, folder=tmp_path, name=out)
    assert report.complete
    assert same(any_server, database, older)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_backup_of_an_older_server_goes_there(
    proxy: WireProxy, hidden: HiddenBuckets, any_server: Server, tmp_path: Path, layout: str
) -> None:
    """And what was lost or changed meanwhile is as it was, and what is new stays."""
    database, target = any_server.new_database(), any_server.new_database()
    series(any_server, database)
    out = backed_up(any_server, database, tmp_path, layout)
    fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, name=out)
    assert same(any_server, database, target)
    with any_server.client() as client:
        buckets = client[target]["system.buckets.s"]
        buckets.delete_one({"meta": 1})
        buckets.update_one({"meta": 2}, {"$set": {"data.v.0": -1}})
    measured(any_server, target, range(5000, 5003))
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, name=out)
    assert (report.complete, report.inserted, report.replaced) == (True, 1, 1)
    assert hidden.raw["update"] == 1
    found = measurements(any_server, target)
    assert [one for one in found if one["_id"] < 5000] == measurements(any_server, database)
    assert len(found) == 303


def test_a_hidden_series_is_replaced(
    proxy: WireProxy, hidden: HiddenBuckets, any_server: Server, tmp_path: Path
) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    series(any_server, database)
    measured(any_server, target, range(5000, 5003))
    backed_up(Server(proxy.uri), database, tmp_path)
    with pytest.raises(fastdump.UsageError, match="holds measurements"):
        fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    options = LoadOptions(drop=True)
    assert fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, options=options).complete
    assert same(any_server, database, target)


@pytest.mark.parametrize("consistency", ["none", "auto"])
def test_a_large_hidden_series_is_cut(
    proxy: WireProxy,
    hidden: HiddenBuckets,
    any_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    consistency: str,
) -> None:
    """Between `_id`s, in many batches; on a replica set as it was at one moment."""
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 5_000)
    monkeypatch.setattr("fastdump.mongo.cursor.BATCH_BYTES", 5_000)
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(0, 400 * 3600, 3600))
    how = fastdump.ReadOptions(consistency=consistency)
    report = fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=how)
    assert report.documents == 400
    assert hidden.raw["getMore"] > 0
    assert hidden.raw["aggregate"] > 0  # that is how the bounds are found
    fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert same(any_server, database, target)


def test_a_hidden_series_is_copied_twice(
    proxy: WireProxy, hidden: HiddenBuckets, any_server: Server
) -> None:
    """Both ways, and between two such servers."""
    database = any_server.new_database()
    series(any_server, database)
    for source, goal in (
        (proxy.uri, any_server.uri),
        (any_server.uri, proxy.uri),
        (proxy.uri, proxy.uri),
    ):
        target = any_server.new_database()
        for inserted in (43, 0):
            report = fastdump.copy(source, goal, db=database, target_db=target)
            assert (report.complete, report.inserted) == (True, inserted)
            assert same(any_server, database, target)
    assert hidden.raw["insert"] > 0


def test_a_backup_is_compared_with_a_hidden_series(
    fastdump: Run, proxy: WireProxy, hidden: HiddenBuckets, any_server: Server, tmp_path: Path
) -> None:
    database = any_server.new_database()
    series(any_server, database)
    backed_up(any_server, database, tmp_path)
    arguments = ("verify", "-f", tmp_path, "--against", "--uri", proxy.uri, "--db", database)
    for further in ((), ("--deep",)):
        done = fastdump(*arguments, *further)
        assert done.code == 0, done
    with any_server.client() as client:
        client[database]["system.buckets.s"].update_one({"meta": 2}, {"$set": {"data.v.0": -1}})
    done = fastdump(*arguments, "--deep")
    assert (done.code, "is different" in done.err) == (1, True), done


def test_mixed_schema_is_allowed_on_a_hidden_series(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(30))
    allow_mixed(any_server, database)
    with any_server.client() as client:
        client[database]["system.buckets.s"].insert_many(mixed("x", n) for n in range(1, 6))
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    refuse_mixed_buckets(proxy)
    HiddenBuckets(proxy)
    options = LoadOptions(collection_options=False)
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, options=options)
    assert (report.complete, report.inserted) == (True, 8)
    assert proxy.seen["collMod"] == 1
    assert measurements(any_server, target) == measurements(any_server, database)


def renamed(path: Path) -> None:
    """Make of an archive what mongodump writes of MongoDB 9.0: buckets are called like a series."""
    reader = archive.Reader(iter([path.read_bytes()]))
    prelude = reader.prelude()
    buckets = {
        one.namespace._replace(collection=f"system.buckets.{one.namespace.collection}")
        if one.kind == "timeseries"
        else one.namespace: one.namespace
        for one in prelude.collections
    }
    parts = [archive.prelude(1, "9.0.1", "100.15.0", prelude.collections)]
    crcs = dict.fromkeys(buckets.values(), 0)
    for event in reader.blocks(buckets):
        name = buckets[event.namespace]
        if isinstance(event, Block):
            data = event.batch.data
            crcs[name] = archive.combined([(crcs[name], 0), (archive.crc64(data), len(data))])
            parts.append(archive.block(name, data))
        else:
            parts.append(archive.end(name, crcs[name]))
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("hides", [False, True])
def test_dumps_whose_buckets_are_called_like_their_series(
    proxy: WireProxy, any_server: Server, tmp_path: Path, *, hides: bool
) -> None:
    """So mongodump calls them since MongoDB 8.3, as its source says."""
    if hides:
        HiddenBuckets(proxy)
    database = any_server.new_database()
    series(any_server, database)
    file, folder = tmp_path / "it.archive", tmp_path / "folder"
    fastdump.backup(
        any_server.uri,
        db=database,
        writing=fastdump.WriteOptions(
            layout="archive", out=file, compression=fastdump.Compression("none")
        ),
    )
    renamed(file)
    fastdump.backup(
        any_server.uri, db=database, writing=fastdump.WriteOptions(layout="mongodump", out=folder)
    )
    for path in folder.rglob("system.buckets.s.*"):
        path.rename(path.with_name(path.name.removeprefix("system.buckets.")))
    for manifest in folder.rglob("*manifest*"):
        manifest.unlink()
    for dump in (file, folder):
        target = any_server.new_database()
        for inserted in (43, 0):
            report = fastdump.restore(proxy.uri, target_db=target, name=dump)
            assert (report.complete, report.inserted) == (True, inserted)
            assert same(any_server, database, target)
    assert fastdump.verify(name=file).intact


def test_an_archive_of_a_new_server_reads_with_mongorestore(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    """It looks for buckets under the name that servers of the version in the head gave them."""
    HiddenBuckets(proxy)
    new = {"version": "9.0.1", "versionArray": [9, 0, 1, 0]}
    proxy.around("buildinfo", lambda command, forward: {**forward(command), **new})
    database = any_server.new_database()
    series(any_server, database)
    heads = []
    for excluded in ((), ("s",)):
        file = tmp_path / f"{len(excluded)}.archive"
        fastdump.backup(
            proxy.uri,
            db=database,
            writing=fastdump.WriteOptions(
                layout="archive", out=file, compression=fastdump.Compression("none")
            ),
            collections=fastdump.CollectionFilter(exclude=excluded),
            reading=fastdump.ReadOptions(consistency="none"),  # the server is older than it says
        )
        prelude = archive.Reader(iter([file.read_bytes()])).prelude()
        heads.append(prelude.server_version)
    assert heads == ["8.2.0", "9.0.1"]


def changed_meanwhile(found: Database[Document]) -> None:
    """Measurements and an index are added, a series is made, another is made anew, one goes."""
    found["s"].insert_many(
        {"_id": n, "at": BEGIN + timedelta(seconds=n), "m": n % 4, "v": n} for n in range(300, 320)
    )
    found["s"].create_index({"m": -1, "at": 1}, name="later")
    found.command({"collMod": "s", "expireAfterSeconds": 10**9})
    found["gone"].drop()
    for name in ("made", "anew"):
        found[name].drop()
        found.create_collection(name, timeseries={"timeField": "at", "metaField": "m"})
        found[name].insert_one({"at": BEGIN, "m": name})


def test_an_oplog_of_hidden_series(
    replica_set: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server calls buckets like their series there; and to such a server none can be replayed.

    What `applyOps` does to buckets that are hidden was never seen.
    """
    database, target, other = (replica_set.new_database() for _place in range(3))
    measured(replica_set, database, range(300))
    for name in ("anew", "gone"):
        measured(replica_set, database, range(10), name)
    during(monkeypatch, replica_set, database, changed_meanwhile)
    with WireProxy(replica_set.uri) as proxy:
        HiddenBuckets(proxy)
        fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=OPLOG)
        restored = fastdump.restore(
            replica_set.uri, target_db=target, folder=tmp_path, options=REPLAY
        )
        assert restored.complete, restored.failures
        assert same(replica_set, database, target)
        with pytest.raises(fastdump.ServerError, match=f"time series {other}.* hides its buckets"):
            fastdump.restore(proxy.uri, target_db=other, folder=tmp_path, options=REPLAY)


def test_only_a_series_is_reached_by_its_own_name(proxy: WireProxy, any_server: Server) -> None:
    """Not what is called alike: a view or a collection. One that is gone may not be named."""
    database = any_server.new_database()
    measured(any_server, database, range(3))
    with any_server.client() as client:
        client[database].create_collection("view", viewOn="s", pipeline=[])
        client[database].create_collection("plain")

    def found(name: str) -> tuple[str, bool]:
        with Server(proxy.uri).client() as client:
            access = access_to(client, Namespace(database, name))
        return access.collection, "rawData" in access.fields

    names = ["s", "view", "plain", "none"]
    buckets = [f"system.buckets.{name}" for name in names]
    assert [found(name) for name in [*names, *buckets]] == [
        (name, False) for name in [*names, *buckets]
    ]
    HiddenBuckets(proxy)
    assert [found(name) for name in names] == [(name, False) for name in names]
    assert [found(name) for name in buckets] == [
        ("s", True),
        ("system.buckets.view", False),
        ("system.buckets.plain", False),
        ("none", True),
    ]
