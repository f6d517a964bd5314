"""A storage in an object store: Amazon S3 and what speaks its protocol, Google's, and Azure's.

obstore makes the requests. Its errors are sorted here and nowhere else: what may pass is raised as
a `TransientStorageError`, so that `RetryingStorage` tries again. obstore itself never does, because
only who wrote an object can tell whether it was there before: a reply may be lost after the work
was done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, cast

from fastdump.errors import (
    ObjectNotFoundError,
    RemoteStorageError,
    StorageError,
    TransientStorageError,
)
from fastdump.storage.interface import Entry, checked

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, ObjectStore, S3Config

__all__ = ["ObjectStorage"]

_LONGEST_SECONDS = 300
"""A request may take so long: 32 MB at 1 Mbit/s. A shorter limit for a connection that is silent
would end slow uploads, during which a server says nothing."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE, _MESSAGE = (re.compile(rf"<{tag}>([^<]*)</{tag}>") for tag in ("Code", "Message"))
_CAUSE = re.compile(r'(?:message|error): "([^"\\]*)"')
_WHERE = re.compile(r"^Generic \w+ error: ")
_DEBUG = "\n\nDebug source:"
"""Mark in obstore's messages: what follows is for programmers, and may hold what was sent."""

_PASSING = frozenset({408, 409, 425, 429})
"""HTTP statuses below 500 after which the same request may succeed."""
_FORBIDDEN = frozenset({401, 403})
_NO_SUCH_RANGE = 416

_METADATA = "169.254.169.254"
"""Address that a machine in a cloud asks for credentials when nothing else names any."""


class ObjectStorage:
    """Objects below a prefix of a bucket, or of what other clouds call a container.

    Each process makes its own connections, at its first request.

    Args:
        url: `s3://bucket/prefix`, `gs://…` or `az://…`, without any secret in it.
        options: keys, region and endpoint of S3 as a profile has them, by obstore's names. Where it
            says nothing, obstore reads the environment.
    """

    notes: Sequence[str] = ()

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._url = url.rstrip("/")
        self._options = dict(options or {})

    def __getstate__(self) -> tuple[str, dict[str, str]]:
        """Leave the connections behind when this travels to another process."""
        return self._url, self._options

    def __setstate__(self, state: tuple[str, dict[str, str]]) -> None:
        self._url, self._options = state

    @property
    def shown(self) -> str:
        """The address."""
        return self._url

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and replace one that has this key."""
        import obstore

        with self._request(key):
            obstore.put(self._store, checked(key), data, use_multipart=False)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken. Return whether it was written."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._request(key):
            try:
                obstore.put(self._store, checked(key), data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                self._see_taken(key)
                return False
        return True

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""
        import obstore
        from obstore.exceptions import GenericError

        if length == 0:
            return b""
        with self._request(key):
            try:
                if length is not None:
                    found = obstore.get_range(self._store, checked(key), start=start, length=length)
                    return bytes(found)
                options: GetOptions = {"range": {"offset": start}} if start else {}
                return bytes(obstore.get(self._store, checked(key), options=options).bytes())
            except GenericError as error:
                if _status(str(error)) != _NO_SUCH_RANGE:
                    raise
                return b""  # it ends before

    def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        import obstore

        with self._request(key):
            return obstore.head(self._store, checked(key))["size"]

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield all objects of a folder."""
        import obstore

        prefix = checked(folder) if folder else None
        with self._request(folder or "a listing"):
            for page in obstore.list(self._store, prefix):
                for found in page:
                    yield Entry(found["path"], found["size"], found["last_modified"])

    def delete(self, key: str) -> None:
        """Remove an object."""
        import obstore

        with self._request(key):
            try:
                obstore.delete(self._store, checked(key))
            except FileNotFoundError:
                return

    def _see_taken(self, key: str) -> None:
        """See that the key is taken by an object that has come to stay.

        S3 refuses a conditional put also when another one, or a delete, is under way.

        Raises:
            TransientStorageError: no object has it now.
        """
        try:
            self.size(key)
        except ObjectNotFoundError as error:
            raise TransientStorageError(
                f"{self.shown}: {key} was just taken and is gone"
            ) from error

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import from_url

        client: ClientConfig = {
            "allow_http": True,  # of an address that the user gave as http://
            "timeout": timedelta(seconds=_LONGEST_SECONDS),
        }
        return from_url(
            self._url,
            config=cast("S3Config", self._options) if self._options else None,
            client_options=client,
            retry_config={"max_retries": 0},
        )

    @contextmanager
    def _request(self, key: str) -> Iterator[None]:
        """Turn an error of obstore within into a sentence."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise _translated(self.shown, key, error) from error


def _translated(shown: str, key: str, error: Exception) -> StorageError:
    """Return the error of fastdump that an error of obstore is."""
    text = str(error)
    status, code = _status(text), _first(_CODE, text)
    if code == "NoSuchBucket":
        return RemoteStorageError(f"{shown}: there is no such bucket; make it first")
    if isinstance(error, FileNotFoundError) and code in (None, "NoSuchKey", "BlobNotFound"):
        return ObjectNotFoundError(f"{shown}: there is no {key}")
    if _METADATA in text:
        return RemoteStorageError(
            f"{shown}: there are no credentials, neither in the environment nor in a profile, and "
            "this machine's cloud gives none"
        )
    if status in _FORBIDDEN:
        return RemoteStorageError(
            f"{shown}: access refused ({_reason(text)}); check the credentials, and that they may "
            "list, read, write and delete there"
        )
    may_pass = status >= 500 or status in _PASSING or (not status and "HTTP error" in text)
    kind = TransientStorageError if may_pass else RemoteStorageError
    return kind(f"{shown}: {_reason(text)}")


def _status(text: str) -> int:
    """Return the HTTP status in a message; 0 where there was no answer."""
    return int(_first(_STATUS, text) or 0)


def _reason(text: str) -> str:
    """Return what a message says to people."""
    said, _found, debug = text.partition(_DEBUG)
    if message := _first(_MESSAGE, said):
        return f"{message.rstrip('.')} ({_first(_CODE, said) or _status(said)})"
    if cause := _first(_CAUSE, debug):
        return cause
    return _WHERE.sub("", said.rpartition(" - ")[2].splitlines()[0]).strip() or "no reason given"


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None
