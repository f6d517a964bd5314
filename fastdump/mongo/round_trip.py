"""Keep several requests under way to a server that is far away, instead of waiting for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastdump.mongo.client import Client

__all__ = ["ask_each", "requests_under_way"]

T = TypeVar("T")
Answer = TypeVar("Answer")

_REQUEST_SECONDS = 0.002
"""Time in seconds that a core is busy with a small request or with a batch of documents. Waiting
for less than that is not worth a thread."""

_MOST = 16
"""Largest number of requests under way for each process: more gained nothing at a round trip of
40 ms."""


def requests_under_way(client: Client) -> int:
    """Return how many requests should be under way at a time, by the measured round trip.

    It is 1 for a server on this machine. The driver measures the round trip when it connects, so
    the client must have been used before.
    """
    servers = client.topology_description.server_descriptions().values()
    measured = [one.round_trip_time for one in servers if one.round_trip_time is not None]
    if not measured:
        return 1
    return min(_MOST, max(1, math.ceil(min(measured) / _REQUEST_SECONDS)))


def ask_each(client: Client, ask: Callable[[T], Answer], items: Iterable[T]) -> list[Answer]:
    """Call a function that sends requests for each item, and return the answers in order.

    The first error is raised; what it leaves is not asked any more.
    """
    size = requests_under_way(client)
    if size == 1:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(size, "fastdump-ask") as threads:
        return list(threads.map(ask, items))
