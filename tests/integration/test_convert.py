"""A converted backup restores to the same database, whatever its layouts were."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import fastdump as package
from benchmarks.shapes import hurtful, insert
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.layouts import segments
from tests.conftest import Run, Server

pytestmark = pytest.mark.timeout(240)

LAYOUTS = ("komodo", "archive", "mongodump", "repository", "archive", "komodo", "repository")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut and spread even what is small."""
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1_000_000)


@pytest.fixture(scope="module")
def hurt(server: Server) -> str:
    database = server.new_database()
    hurtful(server.connection, database)
    return database


def form(layout: str, folder: Path) -> tuple[Path | None, package.WriteOptions]:
    """The folder of backups, unless the layout has none, and the options."""
    out = folder / "archive" if layout == "archive" else None
    return (None if out else folder), package.WriteOptions(layout=layout, out=out)


def test_from_each_layout_to_each_other(server: Server, hurt: str, tmp_path: Path) -> None:
    """In a chain: what one step loses, the end has not."""
    first, writing = form(LAYOUTS[0], tmp_path / "0")
    assert first is not None
    made = package.backup(server.uri, db=hurt, folder=first, writing=writing)
    old: Path | str = made.path
    for number, (before, after) in enumerate(pairwise(LAYOUTS), start=1):
        to, writing = form(after, tmp_path / str(number))
        source = tmp_path / str(number - 1)
        name = None if before == "repository" else old
        report = package.convert(source, name=name, to=to, writing=writing, workers=2)
        assert report.documents == made.documents, after
        assert report.workers == (0 if before == "archive" else 2)
        old = report.path
        if after != "archive":
            assert package.verify(tmp_path / str(number)).intact
    last = package.list_backups(tmp_path / str(len(LAYOUTS) - 1))
    assert [one.databases for one in last] == [(hurt,)]
    target = server.new_database()
    restored = package.restore(
        server.uri, target_db=target, folder=tmp_path / str(len(LAYOUTS) - 1),
        namespaces=package.NamespaceFilter(rename=[(f"{hurt}.*", f"{target}.*")]),
    )  # fmt: skip
    assert restored.complete
    assert differences(state(server.connection, hurt), state(server.connection, target)) == []


def test_json_lines_there_and_back(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "x": "y" * 500} for n in range(9000)))
    with server.client() as client:
        client[database].create_collection("empty")
        client[database]["c"].create_index("x")
    package.backup(server.uri, db=database, folder=tmp_path / "a")
    json = package.WriteOptions(layout="komodo-json")
    lines = package.convert(tmp_path / "a", to=tmp_path / "b", writing=json, workers=2)
    assert any("have an _id that is not an ObjectId" in note for note in lines.notes)
    report = package.convert(tmp_path / "b", to=tmp_path / "c", workers=2)
    assert report.documents == 9000
    package.restore(server.uri, target_db=target, folder=tmp_path / "c")
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_an_oplog_goes_along(replica_set: Server, tmp_path: Path) -> None:
    database = replica_set.new_database()
    insert(replica_set.connection, database, "c", ({"_id": n} for n in range(100)))
    made = package.backup(
        replica_set.uri,
        db=database,
        folder=tmp_path / "a",
        reading=package.ReadOptions(consistency="oplog"),
    )
    assert made.oplog is not None
    for layout, to in (("mongodump", "b"), ("repository", "c")):
        how = package.WriteOptions(layout=layout)
        package.convert(tmp_path / "a", to=tmp_path / to, writing=how)
        (one,) = package.list_backups(tmp_path / to)
        assert one.oplog is not None
        assert one.oplog.contents.documents == made.oplog.documents
        assert one.oplog.contents.raw_bytes == made.oplog.raw_bytes
        assert one.consistency == made.consistency
    chosen = package.NamespaceFilter(include=[f"{database}.c"])
    json = package.WriteOptions(layout="komodo-json")
    with pytest.raises(package.UsageError, match="holds an oplog, which --layout komodo-json"):
        package.convert(tmp_path / "a", to=tmp_path / "d", writing=json)
    report = package.convert(tmp_path / "a", to=tmp_path / "d", namespaces=chosen)
    assert "the oplog is left out, since collections are left out or renamed" in report.notes


@pytest.mark.needs("snapshots")
def test_the_latest_copy_of_another_backup_is_told(replica_set: Server, tmp_path: Path) -> None:
    database, old, new = replica_set.new_database(), tmp_path / "old", tmp_path / "new"
    names = []
    for number in range(2):
        insert(replica_set.connection, database, "Stats", [{"_id": number}])
        insert(replica_set.connection, database, "c", [{"_id": number}])
        names.append(package.backup(replica_set.uri, db=database, folder=old).name)
    first = package.convert(old, name=names[0], to=new)
    assert any("of Stats only the latest copy is kept" in note for note in first.notes)
    second = package.convert(old, name=names[1], to=new)
    assert second.notes == ()
    moments = [one.consistency for one in package.list_backups(new)]
    assert [one.consistency and one.consistency.moment for one in package.list_backups(old)] == [
        one and one.moment for one in moments
    ]
    assert [one and one.exceptions for one in moments] == [(f"{database}.Stats",), ()]


def test_all_backups_of_a_folder(fastdump: Run, server: Server, tmp_path: Path) -> None:
    """They are as old as before, and the newest is restored."""
    database, target = server.new_database(), server.new_database()
    old, new = tmp_path / "old", tmp_path / "new"
    for number in range(3):
        insert(server.connection, database, "c", [{"_id": number}])
        package.backup(server.uri, db=database, folder=old, max_backups=0)
    done = fastdump("convert", "-f", old, "--all", "--to", new, "--layout", "repository")
    assert done.code == 0, done.err
    before, after = package.list_backups(old), package.list_backups(new)
    assert [one.made for one in after] == [one.made for one in before]
    assert [one.documents for one in after] == [1, 2, 3]
    names = package.NamespaceFilter(rename=[(f"{database}.*", f"{target}.*")])
    package.restore(server.uri, target_db=target, folder=new, namespaces=names)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_chosen_and_renamed(fastdump: Run, server: Server, tmp_path: Path) -> None:
    one, two = server.new_database(), server.new_database()
    for database in (one, two):
        for name in ("a", "b"):
            insert(server.connection, database, name, [{"_id": database + name}])
    archive = tmp_path / "archive"
    package.backup(server.uri, writing=package.WriteOptions(layout="archive", out=archive))
    refused = fastdump("convert", archive, "--to", tmp_path / "b")
    assert (refused.code, refused.out) == (2, "")
    assert "databases, and the layout komodo holds one" in refused.err
    assert not (tmp_path / "b").exists()
    done = fastdump("convert", archive, "--out", tmp_path / "dump", "--layout", "mongodump",
                    "--ns-include", f"{one}.*", "--ns-exclude", "*.b",
                    "--ns-from", f"{one}.*", "--ns-to", "new.*")  # fmt: skip
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "dump/new").iterdir()} == {
        "a.bson.gz", "a.metadata.json.gz", "prelude.json.gz"
    }  # fmt: skip


def test_damage_leaves_nothing(fastdump: Run, server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "x": "y" * 99} for n in range(5000)))
    report = package.backup(server.uri, db=database, folder=tmp_path / "a")
    file = Path(report.path) / "c.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    done = fastdump("convert", "-f", tmp_path / "a", "--to", tmp_path / "b")
    assert done.code == 4
    assert str(file) in done.err
    assert package.list_backups(tmp_path / "b") == []
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the place of the new backup"),
        (("--to", "x", "--out", "y"), "name the place of the new backup"),
        (("--all", "-r", "2024", "--to", "x"), "--all goes with --to"),
        (("--out", "-", "--layout", "archive"), "convert writes to a file"),
    ],
)
def test_what_cannot_be_meant(
    fastdump: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = fastdump("convert", "-f", tmp_path, *arguments)
    assert done.code == 2
    assert said in done.err
