"""What every layout must do. A new layout is one more parameter."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import pytest
from bson.datetime_ms import DatetimeMS

from fastdump import places as layouts
from fastdump.codec.bson import Batch
from fastdump.engine.backup.packing import packer
from fastdump.errors import BackupNotFoundError, StorageError
from fastdump.layouts.dated_folders import DatedFolders
from fastdump.layouts.interface import BackupWriter, Layout
from fastdump.layouts.segments import read_lines
from fastdump.model import (
    Backup,
    Catalog,
    Chunk,
    ChunkSource,
    Collection,
    CollectionKind,
    Consistency,
    Encoding,
    Namespace,
    Segment,
    ServerInfo,
    StoredCollection,
    WriteOptions,
)
from fastdump.mongo import ejson
from fastdump.repository import DESCRIPTION
from fastdump.repository.pieces import PIECES
from fastdump.repository.place import Repository

TAKEN = datetime(2026, 3, 4, 5, 6, 7)
NAMES = ["Action", "a/b", "A", "a", "Stats", "..", "日本", "n" * 220]

MakeLayout = Callable[[Path], Layout]


def folder_of(name: str, folder: Path, latest_only: list[str]) -> Layout:
    found = layouts.destination(folder, WriteOptions(layout=name, latest_only=latest_only))
    assert isinstance(found, DatedFolders | Repository)
    return found


def komodo(folder: Path) -> Layout:
    return folder_of("komodo", folder, ["Stats"])


def komodo_json(folder: Path) -> Layout:
    return folder_of("komodo-json", folder, ["Stats"])


def mongodump(folder: Path) -> Layout:
    return folder_of("mongodump", folder, [])


def repository(folder: Path) -> Layout:
    return folder_of("repository", folder, [])


@pytest.fixture(params=[komodo, komodo_json, mongodump, repository])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    make: MakeLayout = request.param
    return make(tmp_path)


# What Extended JSON cannot carry: a date after 9999, a document that looks like an ObjectId, and
# text that is no UTF-8.
OPTIONS = bson.encode(
    {
        "validator": {
            "a": {"$regex": "@", "$options": "i", "$ne": {"$oid": "x"}},
            "b": {"$lt": DatetimeMS(400_000_000_000_000)},
            "c": "caf\0e",
        }
    }
).replace(b"caf\0e", b"caf\xe9e")
INDEX = bson.encode({"v": 2, "name": "x_1", "key": {"x": 1.0, "a": -1}})


def collection(name: str, kind: CollectionKind = CollectionKind.COLLECTION) -> Collection:
    return Collection("db", name, kind, OPTIONS, (INDEX,), 6, 600)


def documents(name: str, number: int) -> bytes:
    return b"".join(bson.encode({"_id": f"{name} {number} {one}"}) for one in range(3))


def write(writer: BackupWriter, name: str, number: int) -> None:
    namespace = Namespace("db", name)
    chunk = Chunk(namespace, ChunkSource(namespace), number=number, chunks=3)
    packing = packer(writer.encoding, writer.level, chunk)
    with writer.outputs.opened(chunk) as output:
        place = output.write(packing.pack(Batch(documents(name, number), 3)), 3)
        part = output.end(packing.part(0.1, [place]))
    writer.add(chunk, part)


def catalog_of(names: list[str]) -> Catalog:
    view = collection("view", CollectionKind.VIEW)
    return Catalog("db", ServerInfo("h", "6", "standalone"), (*map(collection, names), view))


def make_backup(layout: Layout, names: list[str], taken: datetime = TAKEN) -> BackupWriter:
    catalog = catalog_of(names)
    writer = layout.begin(taken, catalog, 1)
    for name in names:
        for number in (1, 0, 2):
            write(writer, name, number)
    writer.commit(catalog, datetime.now(UTC), datetime.now(UTC), Consistency("none"))
    writer.close()
    return writer


def contents(layout: Layout, backup: Backup) -> dict[str, StoredCollection]:
    found, _notes = layout.contents(backup)
    return {collection.name: collection for collection in found}


def read(layout: Layout, segment: Segment) -> bytes:
    if segment.place.encoding is Encoding.JSON:
        return b"".join(ejson.decode(lines).batch.data for lines in read_lines(segment))
    return b"".join(batch.data for batch in layout.reader.batches(segment.place))


def test_what_is_written_comes_back(layout: Layout) -> None:
    writer = make_backup(layout, NAMES)
    backup = layout.find(None)
    assert (backup.name, backup.path) == (writer.name, writer.path)
    stored = contents(layout, backup)
    assert stored.keys() == {*NAMES, "view"}
    assert layout.reader.missing(list(stored.values())) == []
    for name in NAMES:
        found = stored[name]
        assert (found.contents.documents, found.kind) == (9, CollectionKind.COLLECTION)
        assert found.file is not None
        (segment,) = layout.reader.segments(found)
        assert read(layout, segment) == b"".join(documents(name, number) for number in range(3))
        if not found.file.pieces:
            assert gzip.decompress(found.file.path.read_bytes()).count(name.encode()) >= 9
        assert (found.options, found.indexes) == (OPTIONS, (INDEX,))
    assert stored["view"].file is None
    assert stored["view"].kind is CollectionKind.VIEW


def test_nothing_is_there_before_all_of_it_is(layout: Layout) -> None:
    make_backup(layout, ["c", "Stats"])
    before = layout.backups()
    writer = layout.begin(TAKEN + timedelta(days=1), catalog_of(["c", "Stats"]), 1)
    write(writer, "c", 0)
    write(writer, "Stats", 0)
    assert layout.backups() == before
    assert layout.find(None) == before[-1]
    assert not Path(writer.path).exists()
    writer.abort()
    assert layout.backups() == before
    assert contents(layout, before[0])["Stats"].contents.documents == 9


def test_an_abort_leaves_nothing(layout: Layout, tmp_path: Path) -> None:
    writer = layout.begin(TAKEN, catalog_of(["c"]), 1)
    write(writer, "c", 0)
    writer.abort()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if isinstance(layout, Repository):  # what was put is for the next backup
        assert {path.relative_to(tmp_path).parts[0] for path in left} == {DESCRIPTION, PIECES}
    else:
        assert left == []


def test_oldest_first_and_no_two_alike(layout: Layout) -> None:
    names = [make_backup(layout, ["c"], TAKEN + timedelta(seconds=n)).name for n in (0, 0, 1, 90)]
    assert names == sorted(set(names))
    assert [backup.name for backup in layout.backups()] == names


def test_a_clock_set_back_does_not_make_the_newest_backup_the_oldest(layout: Layout) -> None:
    first = make_backup(layout, ["c"], TAKEN).name
    second = make_backup(layout, ["c"], TAKEN - timedelta(hours=1)).name
    assert [backup.name for backup in layout.backups()] == [first, second]


def test_a_removed_backup_is_gone_and_the_others_are_not(layout: Layout, tmp_path: Path) -> None:
    for day in range(3):
        make_backup(layout, ["c"], TAKEN + timedelta(days=day))
    oldest, *others = layout.backups()
    layout.remove(oldest.path)
    assert [one.name for one in layout.backups()] == [one.name for one in others]
    assert not Path(oldest.path).exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(BackupNotFoundError):
        layout.find(oldest.name)


def test_by_name_and_by_path(layout: Layout) -> None:
    names = [make_backup(layout, ["c"], TAKEN + timedelta(days=n)).name for n in range(2)]
    for which in (names[0], str(layout.find(names[0]).path)):
        assert layout.find(which).name == names[0]


def test_strangers_are_no_backups(layout: Layout, tmp_path: Path) -> None:
    for stranger in ("photos", "2026-03-04", ".2026-03-04_05-06-07.partial", "2026-99-99_00-00-00"):
        (tmp_path / stranger).mkdir()
    (tmp_path / "2026-03-04_00-00-00").write_text("a file")
    (tmp_path / "2025-03-04_00-00-00").symlink_to(tmp_path / "photos")
    if isinstance(layout, Repository):
        with pytest.raises(BackupNotFoundError, match="no repository"):
            layout.backups()
        make_backup(layout, ["c"])
        (tmp_path / "backups/2026-03-04_00-00-00").write_text("a file")
        assert len(layout.backups()) == 1
        return
    assert layout.backups() == []
    with pytest.raises(BackupNotFoundError):
        layout.find(None)


def test_files_are_for_their_owner_only(layout: Layout, tmp_path: Path) -> None:
    writer = make_backup(layout, ["c"])
    assert Path(writer.path).stat().st_mode & 0o077 == 0


def test_no_folder(tmp_path: Path) -> None:
    for make in (komodo, komodo_json, mongodump):
        with pytest.raises(StorageError, match="does not exist"):
            make(tmp_path / "absent").backups()
