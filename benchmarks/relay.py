"""Act out a server that is far away: pass connections on, each byte later by half a round trip."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from queue import SimpleQueue

__all__ = ["far"]

_READ_BYTES = 1024 * 1024
_WAITING = 200
"""Number of connections that may wait to be accepted."""


@contextmanager
def far(port: int, round_trip_seconds: float) -> Iterator[int]:
    """Run a relay to a port of this machine inside the context, and yield the relay's port.

    It is a process of its own, so that its threads wait for nobody else's.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=_WAITING)
    arguments = (listener, port, round_trip_seconds / 2)
    process = get_context("fork").Process(target=_serve, args=arguments, daemon=True)
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        process.kill()
        process.join()
        listener.close()


def _serve(listener: socket.socket, port: int, delay: float) -> None:
    sys.setswitchinterval(0.0005)
    while True:
        near, _address = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for one, other in ((near, server), (server, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _pass_on(one, other, delay)


def _pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    waiting = SimpleQueue[tuple[float, bytes]]()

    def read() -> None:
        data = b"?"
        while data:
            try:
                data = source.recv(_READ_BYTES)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + delay, data))

    def write() -> None:
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()
