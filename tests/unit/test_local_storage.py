"""An object in a local folder is on the disk before it has its name, and all of it or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdump.errors import StorageError
from fastdump.storage.local import LocalStorage


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is synced, and which names are given, in their order."""
    made: list[tuple[str, str]] = []
    sync, link, replace = os.fsync, os.link, os.replace

    def synced(descriptor: int) -> None:
        made.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    def named(call: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def recorded(source: str, target: str) -> None:
            made.append(("name", str(source)))
            made.append(("as", str(target)))
            call(source, target)

        return recorded

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", named(link))
    monkeypatch.setattr(os, "replace", named(replace))
    return made


@pytest.mark.parametrize("put", [LocalStorage.put, LocalStorage.put_new])
def test_an_object_is_synced_before_it_has_its_name(
    put: Callable[[LocalStorage, str, bytes], object],
    calls: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    put(LocalStorage(tmp_path / "storage"), "a/b", b"data")
    folder = tmp_path / "storage" / "a"
    *folders, synced, named, given, last = calls
    assert folders == [("sync", str(tmp_path)), ("sync", str(tmp_path / "storage"))]
    assert synced[0] == "sync"
    assert named == ("name", synced[1])
    assert (given, last) == (("as", str(folder / "b")), ("sync", str(folder)))
    assert [path.name for path in folder.iterdir()] == ["b"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_what_cannot_be_written_leaves_what_was_there(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a", b"before")

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            storage.put("a", b"after")
        with pytest.raises(StorageError):
            storage.put_new("b", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert storage.get("a") == b"before"


def test_what_a_killed_writer_left_is_no_object(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a/b", b"")
    (tmp_path / "a" / ".c.0123").write_bytes(b"half of")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "d").write_bytes(b"")
    assert [one.key for one in storage.list()] == ["a/b"]
