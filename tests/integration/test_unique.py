"""Two documents with one `_id` in a backup, whatever it is written as."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import bson
import pytest

import fastdump as package
from fastdump.engine import planner
from fastdump.engine.verify.duplicate_ids import Keys, KeyWriter
from fastdump.errors import StorageError
from fastdump.model import LAYOUTS, Namespace
from tests.conftest import Run, Server, command, environment

DOCUMENTS = 500
TWICE = (17, 400, 450)


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    """A database with a view that shows some documents twice."""
    name = server.new_database()
    with server.client() as client:
        client[name]["c"].insert_many(
            {"_id": n, "x": ["x" * 1000] * (2 if n in TWICE else 1)} for n in range(DOCUMENTS)
        )
        client[name].command({"create": "v", "viewOn": "c", "pipeline": [{"$unwind": "$x"}]})
    return name


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_found_in_every_layout(
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    compressed: bool,
    processes: bool,
) -> None:
    if not compressed and layout.startswith("komodo"):
        pytest.skip("always compressed")
    monkeypatch.setattr(planner, "INLINE_BYTES", 0 if processes else 10**9)
    monkeypatch.setattr("fastdump.layouts.segments.SEGMENT_BYTES", 100_000)
    out = tmp_path / "out" if layout == "archive" else None
    for collections, views in (("v", True), ("c", False)):
        package.backup(
            server.uri,
            db=database,
            folder=tmp_path,
            writing=package.WriteOptions(
                layout=layout,
                out=out,
                compression=package.Compression("gzip" if compressed else "none"),
            ),
            collections=package.CollectionFilter(include=[collections], views_as_collections=views),
        )
        report = package.verify(tmp_path, name=out, unique=True, workers=2)
        assert report.intact is not views
        if views:
            (problem,) = report.problems
            said, _colon, ids = problem.message.rpartition(": ")
            assert said == f"{len(TWICE)} documents of {database}.v have the _id of another"
            assert set(ids.split(", ")) == set(map(str, TWICE))
            assert package.verify(tmp_path, name=out).intact


def test_in_a_foreign_file(tmp_path: Path) -> None:
    """As mongodump writes it: one gzip member."""
    folder = tmp_path / "dump" / "db"
    folder.mkdir(parents=True)
    documents = b"".join(bson.encode({"_id": n, "x": "x" * 50}) for n in (*range(1000), 3))
    (folder / "c.bson.gz").write_bytes(gzip.compress(documents))
    (folder / "c.metadata.json.gz").write_bytes(gzip.compress(b'{"options":{},"indexes":[]}'))
    report = package.verify(tmp_path, name=tmp_path / "dump", unique=True)
    assert [Path(problem.path).name for problem in report.problems] == ["c.bson.gz"]
    assert report.problems[0].message == "1 documents of db.c have the _id of another: 3"


def test_on_the_command_line(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    for options in (["--views-as-collections"], ["--collection", "c"]):
        assert fastdump(
            "backup", "--uri", server.uri, "--db", database, "-f", tmp_path, *options
        ).code == 0  # fmt: skip
    (tmp_path / "tmp").mkdir()
    good, bad = [fastdump("verify", "-f", tmp_path, "-r", one.name, "--unique",
                          TMPDIR=str(tmp_path / "tmp"))
                 for one in reversed(package.list_backups(tmp_path))]  # fmt: skip
    assert (good.code, bad.code) == (0, 4)
    assert f"3 documents of {database}.v have the _id of another: " in bad.err
    assert list((tmp_path / "tmp").iterdir()) == []
    both = fastdump("verify", "-f", tmp_path, "--unique", "--against", "--uri", server.uri)
    assert (both.code, "--unique cannot be combined with --against" in both.err) == (2, True)


def test_an_archive_on_standard_input(server: Server, database: str, tmp_path: Path) -> None:
    package.backup(
        server.uri,
        db=database,
        writing=package.WriteOptions(layout="archive", out=tmp_path / "a"),
        collections=package.CollectionFilter(views_as_collections=True),
    )
    with (tmp_path / "a").open("rb") as archive:
        done = subprocess.run(
            command("verify", "--unique", "-"), stdin=archive, capture_output=True, text=True,
            env=environment(), timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert f"3 documents of {database}.v have the _id of another\n" in done.stderr


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    name = Namespace("db", "c")
    writer = KeyWriter(Keys(tmp_path, (name,)), Path("/dev/full"))
    writer.add(name, bson.encode({"_id": 1}))
    with pytest.raises(StorageError, match="no space left"):
        writer.end()


@pytest.mark.parametrize("layout", LAYOUTS[:1] + LAYOUTS[2:])
def test_what_a_view_shows_and_no_collection_can_hold(
    fastdump: Run, server: Server, tmp_path: Path, layout: str
) -> None:
    """Said when it is read, and when it is restored, each time."""
    source, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[source]["c"].insert_many({"_id": n, "x": [1, 2, 3]} for n in range(5))
        for name, stage in (("twice", {"$unwind": "$x"}), ("bare", {"$project": {"_id": 0}}),
                            ("good", {"$project": {"x": 0}})):  # fmt: skip
            client[source].command({"create": name, "viewOn": "c", "pipeline": [stage]})
    done = fastdump("backup", "--uri", server.uri, "--db", source, "--views-as-collections",
                    "--layout", layout, "-f" if layout == "repository" else "-o",
                    "out")  # fmt: skip
    assert done.code == 0, done.err
    assert f"the view {source}.twice contains 10 documents with the _id of another" in done.err
    assert f"the view {source}.bare contains 5 documents without an _id" in done.err
    assert f"{source}.good" not in done.err
    for times in (1, 2):
        restored = fastdump("restore", "--target-uri", server.uri, "--target-db", target, "-y",
                            *(["-f"] if layout == "repository" else []),
                            tmp_path / "out")  # fmt: skip
        assert restored.code == 1, restored.err
        assert "10 documents were refused: another document of the source has" in restored.err
        assert f"{target}.bare: 5 documents have no _id" in restored.err
        with server.client() as client:
            found = client[target]
            assert [one["x"] for one in found["twice"].find()] == [1] * 5
            assert found["bare"].count_documents({}) == 5 * times
            assert found["good"].count_documents({}) == 5
