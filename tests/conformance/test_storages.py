"""Every storage behaves in the same way, whatever is behind it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdump.errors import ObjectNotFoundError, TransientStorageError
from fastdump.storage.interface import Entry, Storage
from fastdump.storage.local import LocalStorage
from fastdump.storage.memory import MemoryStorage
from fastdump.storage.object_store import ObjectStorage
from fastdump.storage.retrying import RetryingStorage
from tests.object_store import BUCKET, S3Server

WRITERS = 8


class _Failing(MemoryStorage):
    """Fails each time before it does something, and once more after it was done."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def _fail(self, when: int) -> None:
        if self._calls % 3 == when:
            self._calls += 1
            raise TransientStorageError("try again")

    def put(self, key: str, data: bytes) -> None:
        self._fail(0)
        super().put(key, data)
        self._fail(1)
        self._calls += 1

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._fail(0)
        self._calls += 1
        return super().get(key, start, length)

    def list(self, folder: str = "") -> Iterator[Entry]:
        for entry in super().list(folder):
            yield entry
            self._fail(0)
        self._calls += 1


@pytest.fixture(params=["memory", "local", "local without hard links", "retrying", "s3"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Storage:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}/new", server.options)
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "retrying":
        return RetryingStorage(_Failing(), seconds=30, first_pause=0.001)
    if request.param == "local without hard links":
        monkeypatch.setattr(os, "link", _refuse)
    return LocalStorage(tmp_path / "new" / "storage")


def _refuse(source: str, target: str) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source)


def test_what_was_put_is_there(storage: Storage) -> None:
    began = datetime.now(UTC)
    storage.put("pieces/3f/one", b"0123456789")
    assert storage.get("pieces/3f/one") == b"0123456789"
    assert storage.size("pieces/3f/one") == 10
    (entry,) = storage.list()
    assert entry[:2] == ("pieces/3f/one", 10)
    assert abs(entry.modified - began) < timedelta(minutes=1)


def test_an_object_is_replaced_as_a_whole(storage: Storage) -> None:
    storage.put("a", b"a long one")
    storage.put("a", b"short")
    assert storage.get("a") == b"short"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 3, b"012"), (3, 4, b"3456"), (8, 5, b"89"), (10, 1, b""), (20, 1, b""), (7, None, b"789")],
)
def test_ranges(storage: Storage, start: int, length: int | None, expected: bytes) -> None:
    storage.put("a", b"0123456789")
    assert storage.get("a", start, length) == expected


def test_an_empty_object(storage: Storage) -> None:
    storage.put("a", b"")
    assert (storage.size("a"), storage.get("a")) == (0, b"")


@pytest.mark.parametrize("ask", [Storage.get, Storage.size])
def test_what_is_not_there_is_named(
    storage: Storage, ask: Callable[[Storage, str], object]
) -> None:
    storage.put("folder/a", b"")
    for key in ("b", "folder", "folder/b", "folder/a/b"):
        with pytest.raises(ObjectNotFoundError, match=f"there is no {key}"):
            getattr(storage, ask.__name__)(key)


def test_a_key_that_is_taken_is_left_alone(storage: Storage) -> None:
    assert storage.put_new("a", b"first")
    assert not storage.put_new("a", b"second")
    assert storage.get("a") == b"first"


def test_of_several_writers_one_wins(storage: Storage) -> None:
    barrier = Barrier(WRITERS, timeout=30)

    def write(number: int) -> bool:
        barrier.wait()
        return storage.put_new("taken/once", str(number).encode())

    with ThreadPoolExecutor(WRITERS) as threads:
        written = list(threads.map(write, range(WRITERS)))
    assert written.count(True) == 1
    assert storage.get("taken/once") == str(written.index(True)).encode()


def test_only_one_folder_is_listed(storage: Storage) -> None:
    for key in ("a/b/1", "a/b/2", "a/b-3", "a/c/4", "5"):
        storage.put(key, b"")
    assert {one.key for one in storage.list("a/b")} == {"a/b/1", "a/b/2"}
    assert {one.key for one in storage.list("a")} == {"a/b/1", "a/b/2", "a/b-3", "a/c/4"}
    assert not list(storage.list("missing"))


def test_objects_are_deleted(storage: Storage) -> None:
    storage.put("a/b", b"")
    storage.delete("a/b")
    storage.delete("a/b")
    storage.delete("never/there")
    assert not list(storage.list())
    assert storage.put_new("a/b", b"again")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a\0"])
def test_what_is_no_key_is_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        storage.put(key, b"")


KEYS = st.lists(st.sampled_from(["a", "b-c", "d.e", "é", "f g"]), min_size=2, max_size=2)
STEPS = st.tuples(
    st.sampled_from(["put", "put_new", "delete"]), KEYS.map("/".join), st.binary(max_size=9)
)


@pytest.mark.parametrize("kind", ["memory", "local"])
@given(steps=st.lists(STEPS, max_size=20))
@settings(max_examples=30, deadline=None)
def test_it_holds_what_a_dictionary_would(
    kind: str, steps: list[tuple[str, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("storage")
    storage: Storage = MemoryStorage() if kind == "memory" else LocalStorage(folder)
    expected: dict[str, bytes] = {}
    for action, key, data in steps:
        if action == "put":
            storage.put(key, data)
            expected[key] = data
        elif action == "put_new":
            assert storage.put_new(key, data) == (key not in expected)
            expected.setdefault(key, data)
        else:
            storage.delete(key)
            expected.pop(key, None)
    assert {one.key: storage.get(one.key) for one in storage.list()} == expected


def test_a_write_that_succeeded_although_it_failed_is_known() -> None:
    """The reply to `put_new` was lost; the second attempt finds the key taken."""

    class Lost(MemoryStorage):
        def put_new(self, key: str, data: bytes) -> bool:
            if super().put_new(key, data):
                raise TransientStorageError("the reply was lost")
            return False

    storage = RetryingStorage(Lost(), seconds=30, first_pause=0.001)
    assert storage.put_new("a", b"mine")
    assert not storage.put_new("a", b"of another")


def test_attempts_end() -> None:
    class Gone(MemoryStorage):
        def size(self, key: str) -> int:  # noqa: ARG002
            raise TransientStorageError("gone")

    with pytest.raises(TransientStorageError, match="gone"):
        RetryingStorage(Gone(), seconds=0.05, first_pause=0.001).size("a")
