"""A proxy between fastdump and a real server, with which tests imitate other or faulty servers.

It speaks MongoDB's wire protocol. Each request is decoded, and a test can answer it, change it on
its way to the server, change the reply, wait, or cut the connection. Other requests pass through
byte for byte.

    with WireProxy(server.uri) as proxy:
        proxy.around("find", lambda command, forward: forward(without(command, "min", "max")))
        proxy.around("collStats", lambda command, forward: refusal(13, "not authorized"))

Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.uri_parser import parse_uri

Document = dict[str, Any]
Forward = Callable[[Document], Document]
"""A function that sends a command to the server and returns its reply."""
Around = Callable[[Document, Forward], Document]
"""A function that answers a command; it may use the server."""

_HEADER = struct.Struct("<iiii")
_REPLY, _QUERY, _MESSAGE = 1, 2004, 2013
_CHECKSUM, _MORE_TO_COME = 1, 2
_AWAIT_CAPABLE = 8
_PATIENCE_SECONDS = 60


class CutError(Exception):
    """Exception that a test raises to cut the connection instead of answering."""


def refusal(code: int, message: str, *labels: str, name: str = "") -> Document:
    """Return a server's reply that refuses a command."""
    reply: Document = {"ok": 0.0, "errmsg": message, "code": code, "codeName": name or str(code)}
    return {**reply, "errorLabels": list(labels)} if labels else reply


def without(document: Document, *names: str) -> Document:
    """Return a document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


class WireProxy:
    """Proxy in front of the first host of a connection string.

    Args:
        uri: the connection string.
        listener: a listening socket; by default one on a free port of localhost.
    """

    def __init__(self, uri: str, listener: socket.socket | None = None) -> None:
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        host, port = parse_uri(uri)["nodelist"][0]
        self._server = (host, int(port or 27017))
        self._arounds: dict[str, Around] = {}
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.spoiled = (b"", b"")
        """Bytes in replies, and other bytes of the same length that replace them."""
        self.seen: Counter[str] = Counter()
        """Number of times that each command arrived."""

    @property
    def address(self) -> str:
        """The host and port of the proxy."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    @property
    def uri(self) -> str:
        """The connection string that leads through the proxy."""
        return f"mongodb://{self.address}/?directConnection=true"

    def around(self, name: str, answer: Around) -> None:
        """Answer each command of that name by `answer`, which wraps an earlier answer.

        Nested documents of a command and its reply are raw, so that their bytes do not change.
        `hello` also stands for its older names.
        """
        inner = self._arounds.get(name)
        if inner is None:
            self._arounds[name] = answer
            return
        self._arounds[name] = lambda command, forward: answer(
            command, lambda changed: inner(changed, forward)
        )

    def refuse(self, name: str, code: int, message: str, *labels: str, times: int = -1) -> None:
        """Refuse commands of that name: the first `times` of them, or all."""
        left = [times]

        def answer(command: Document, forward: Forward) -> Document:
            with self._lock:
                refused = left[0] != 0
                left[0] -= refused
            return refusal(code, message, *labels) if refused else forward(command)

        self.around(name, answer)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections that are open now."""
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError, CutError):
            server = socket.create_connection(self._server, _PATIENCE_SECONDS)
            with closing(server):
                for one in (client, server):
                    if one.family != socket.AF_UNIX:
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {client, server}
                try:
                    while True:
                        self._answer(client, server)
                finally:
                    with self._lock:
                        self._sockets -= {client, server}

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        message = _receive(client)
        _length, request, _response, code = _HEADER.unpack_from(message)
        command, sequences = _decoded(message, code)
        name = next(iter(command))
        name = "hello" if name in ("isMaster", "ismaster") else name
        self.seen[name] += 1

        def forward(changed: Document) -> Document:
            server.sendall(_encoded(changed, sequences, request))
            return _decoded(_receive(server), _MESSAGE)[0]

        answer = self._arounds.get(name)
        if answer is None and code == _MESSAGE and not _is_exhaust(message):
            server.sendall(message)
            if not _is_unanswered(message):
                client.sendall(_receive(server))
            return
        reply = answer(command, forward) if answer is not None else forward(command)
        client.sendall(_reply(reply, request, code).replace(*self.spoiled))


def _receive(source: socket.socket) -> bytes:
    head = _exactly(source, 4)
    (length,) = struct.unpack("<i", head)
    return head + _exactly(source, length - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise ConnectionError("the other side has closed")
        data += piece
    return bytes(data)


def _is_unanswered(message: bytes) -> bool:
    return bool(struct.unpack_from("<I", message, _HEADER.size)[0] & _MORE_TO_COME)


def _is_exhaust(message: bytes) -> bool:
    """Return True if the client allows several replies; the proxy sends one for each request."""
    return bool(struct.unpack_from("<I", message, _HEADER.size)[0] >> 16)


def _decoded(message: bytes, code: int) -> tuple[Document, frozenset[str]]:
    """Return the command, and the names of its fields that arrived as sequences of documents."""
    if code == _QUERY:
        # Only the first message of a connection still has this form.
        start = message.index(b"\0", _HEADER.size + 4) + 9
        return {**RawBSONDocument(message[start:]), "$db": "admin"}, frozenset()
    flags = struct.unpack_from("<I", message, _HEADER.size)[0]
    body: Document = {}
    sequences: dict[str, list[RawBSONDocument]] = {}
    place = _HEADER.size + 4
    end = len(message) - (4 if flags & _CHECKSUM else 0)
    while place < end:
        kind, size = message[place], struct.unpack_from("<i", message, place + 1)[0]
        section = message[place + 1 : place + 1 + size]
        if kind == 0:
            body = dict(RawBSONDocument(section))
        else:
            zero = section.index(b"\0", 4)
            sequences[section[4:zero].decode()] = list(_documents(section[zero + 1 :]))
        place += 1 + size
    return {**body, **sequences}, frozenset(sequences)


def _documents(data: bytes) -> Iterator[RawBSONDocument]:
    place = 0
    while place < len(data):
        (size,) = struct.unpack_from("<i", data, place)
        yield RawBSONDocument(data[place : place + size])
        place += size


def _encoded(command: Document, sequences: frozenset[str], request: int) -> bytes:
    body = b"\0" + bson.encode(without(command, *sequences))
    for name in sequences & command.keys():
        data = b"".join(one.raw for one in command[name])
        section = name.encode() + b"\0" + data
        body += b"\1" + struct.pack("<i", len(section) + 4) + section
    return _HEADER.pack(_HEADER.size + 4 + len(body), request, 0, _MESSAGE) + bytes(4) + body


def _reply(reply: Document, request: int, code: int) -> bytes:
    body = bson.encode(reply)
    if code == _QUERY:
        body = struct.pack("<iqii", _AWAIT_CAPABLE, 0, 0, 1) + body
        return _HEADER.pack(_HEADER.size + len(body), 0, request, _REPLY) + body
    body = bytes(5) + body
    return _HEADER.pack(_HEADER.size + len(body), 0, request, _MESSAGE) + body
