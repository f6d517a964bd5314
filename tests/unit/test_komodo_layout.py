"""What only the Komodo layout has: collections of which only the latest copy is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fastdump.layouts.dated_folders import DatedFolders
from fastdump.model import WriteOptions
from fastdump.places import destination
from tests.conformance.test_layouts import TAKEN, contents, make_backup


def komodo(folder: Path, latest_only: Sequence[str] = ("Stats",)) -> DatedFolders:
    layout = destination(folder, WriteOptions(latest_only=latest_only))
    assert isinstance(layout, DatedFolders)
    return layout


def stats(folder: Path) -> int | None:
    layout = komodo(folder)
    return contents(layout, layout.find(None))["Stats"].contents.documents


def test_only_the_latest_is_kept_beside_the_folders(tmp_path: Path) -> None:
    layout = komodo(tmp_path)
    first = make_backup(layout, ["Stats", "c"])
    make_backup(layout, ["Stats", "c"], TAKEN.replace(day=5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2026-03-04_05-06-07",
        "2026-03-05_05-06-07",
        "Stats.gz",
        "Stats.manifest.json",
    ]
    assert sorted(path.name for path in Path(first.path).iterdir()) == ["c.gz", "manifest.json"]
    assert layout.latest()[0].origin.latest_only


def test_the_latest_of_another_database_is_not_restored_with_this_one(tmp_path: Path) -> None:
    layout = komodo(tmp_path)
    make_backup(layout, ["Stats", "c"])
    manifest = Path(make_backup(layout, ["d"], TAKEN.replace(day=5)).path) / "manifest.json"
    assert contents(layout, layout.find(None)).keys() == {"d", "view", "Stats"}
    manifest.write_text(manifest.read_text().replace('"db"', '"another"'))
    assert contents(layout, layout.find(None)).keys() == {"d", "view"}


@pytest.mark.parametrize("replaced", [False, True])
def test_killed_between_the_two_renames(tmp_path: Path, replaced: bool) -> None:
    """The manifest that fits the file is used, whichever of the two it is."""
    old, new, both = tmp_path / "old", tmp_path / "new", tmp_path / "both"
    make_backup(komodo(old), ["Stats"])
    new_layout = komodo(new)
    make_backup(new_layout, ["Stats", "c"])
    # Another size, as another content has.
    (new / "Stats.gz").write_bytes((new / "Stats.gz").read_bytes() * 2)
    manifest = (new / "Stats.manifest.json").read_text()
    size = (new / "Stats.gz").stat().st_size
    manifest = manifest.replace(f'"file_bytes": {size // 2}', f'"file_bytes": {size}')
    manifest = manifest.replace('"documents": 9', '"documents": 18')
    make_backup(komodo(both), ["c"])
    (both / "Stats.gz").write_bytes(((new if replaced else old) / "Stats.gz").read_bytes())
    (both / "Stats.manifest.json").write_bytes((old / "Stats.manifest.json").read_bytes())
    (both / ".Stats.manifest.json.next").write_text(manifest)
    assert stats(both) == (18 if replaced else 9)


def test_komodos_own_stats_without_manifest(tmp_path: Path) -> None:
    make_backup(komodo(tmp_path), ["c"])
    (tmp_path / "Stats.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "holiday.tar.gz").write_bytes(b"not ours")
    assert [found.name for found in komodo(tmp_path).latest()] == ["Stats"]


def test_other_collections_can_be_kept_once(tmp_path: Path) -> None:
    make_backup(komodo(tmp_path, ["a/b"]), ["a/b", "Stats"])
    assert (tmp_path / "a%2Fb.gz").is_file()
    assert not (tmp_path / "Stats.gz").exists()
    layout = komodo(tmp_path)
    assert contents(layout, layout.find(None)).keys() == {"a/b", "Stats", "view"}


def test_a_manifest_beside_describes_its_own_file_only(tmp_path: Path) -> None:
    make_backup(komodo(tmp_path), ["Stats", "c"])
    (tmp_path / "holiday.gz").write_bytes((tmp_path / "Stats.gz").read_bytes())
    manifest = (tmp_path / "Stats.manifest.json").read_text()
    (tmp_path / "holiday.manifest.json").write_text(manifest)
    assert [found.name for found in komodo(tmp_path).latest()] == ["Stats"]
