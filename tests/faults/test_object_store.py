"""An object store that throttles, cuts connections, loses replies, or refuses."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastdump.errors import RemoteStorageError, StorageError, TransientStorageError
from fastdump.storage.interface import Storage
from fastdump.storage.object_store import ObjectStorage
from fastdump.storage.retrying import RetryingStorage
from tests.object_store import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    FaultyProxy,
    S3Server,
    cut,
    lose,
    refuse,
    shorten,
    slow_down,
)


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3) as found:
        yield found


@pytest.fixture
def plain(proxy: FaultyProxy, tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", proxy.server.options)


@pytest.fixture
def storage(plain: ObjectStorage) -> Storage:
    return RetryingStorage(plain, seconds=30, first_pause=0.001)


PASSING = [slow_down, cut]


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_said_to_pass(
    plain: ObjectStorage, proxy: FaultyProxy, fault: Callable[..., None]
) -> None:
    proxy.fail("PUT", fault)
    with pytest.raises(TransientStorageError, match=f"s3://{BUCKET}/"):
        plain.put("a", b"")
    assert proxy.seen["PUT"] == 1, "obstore must not try again by itself"


@pytest.mark.parametrize("fault", [*PASSING, lose])
def test_everything_is_tried_again(
    storage: Storage, proxy: FaultyProxy, fault: Callable[..., None]
) -> None:
    for method in ("PUT", "GET", "HEAD", "POST", "DELETE"):
        proxy.fail(method, fault, times=2)
    storage.put("a/b", b"0123456789")
    assert storage.get("a/b") == b"0123456789"
    assert storage.size("a/b") == 10
    assert [one.key for one in storage.list()] == ["a/b"]
    storage.delete("a/b")
    assert list(storage.list()) == []


def test_a_reply_that_is_cut_is_no_object(storage: Storage, proxy: FaultyProxy) -> None:
    data = bytes(range(256)) * 4096
    storage.put("a", data)
    proxy.fail("GET", shorten, times=2)
    assert storage.get("a") == data
    assert proxy.seen["GET"] == 3


def test_a_lost_reply_hides_no_success(storage: Storage, proxy: FaultyProxy) -> None:
    proxy.fail("PUT", lose)
    assert storage.put_new("a", b"mine")
    proxy.fail("PUT", slow_down)
    assert not storage.put_new("a", b"of another")
    assert storage.get("a") == b"mine"


def test_a_refusal_is_said_at_once(storage: Storage, proxy: FaultyProxy) -> None:
    proxy.fail("PUT", refuse)
    with pytest.raises(
        RemoteStorageError, match=r"refused \(Access Denied .*credentials"
    ) as caught:
        storage.put("a", b"")
    assert not isinstance(caught.value, TransientStorageError)
    assert proxy.seen["PUT"] == 1
    assert caught.value.exit_code == 3


ASKED: list[Callable[[Storage], object]] = [
    lambda storage: storage.put("a", b""),
    lambda storage: storage.put_new("a", b""),
    lambda storage: storage.get("a"),
    lambda storage: list(storage.list()),
]


@pytest.mark.parametrize("ask", ASKED)
def test_wrong_keys_are_refused_and_never_shown(
    s3: S3Server, ask: Callable[[Storage], object]
) -> None:
    options = {**s3.options, "aws_secret_access_key": "another-secret"}
    with pytest.raises(RemoteStorageError, match="refused") as caught:
        ask(ObjectStorage(f"s3://{BUCKET}/x", options))
    for secret in (SECRET_KEY, ACCESS_KEY, "another-secret", "AWS4-HMAC", "Debug"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("ask", ASKED)
def test_a_bucket_that_is_not_there(s3: S3Server, ask: Callable[[Storage], object]) -> None:
    with pytest.raises(StorageError, match="s3://absent/x: there is no such bucket"):
        ask(ObjectStorage("s3://absent/x", s3.options))


def test_nobody_there(s3: S3Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        options = {**s3.options, "aws_endpoint_url": f"http://127.0.0.1:{unused.getsockname()[1]}"}
        with pytest.raises(TransientStorageError, match="Connection refused"):
            ObjectStorage(f"s3://{BUCKET}/x", options).put("a", b"")


def test_settings_that_are_missing() -> None:
    with pytest.raises(RemoteStorageError, match="az://container/x: Account must be specified"):
        ObjectStorage("az://container/x").put("a", b"")


def test_it_travels_to_another_process(s3: S3Server, tmp_path: Path) -> None:
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", s3.options)
    storage.put("a", b"here")
    assert pickle.loads(pickle.dumps(storage)).get("a") == b"here"
