"""Keep several requests under way to a server that is far away, instead of waiting for each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

from pymongo.errors import PyMongoError

from fastdump.mongo.client import Client

__all__ = ["ask_each", "requests_under_way"]

_round_trips = WeakKeyDictionary[Client, float]()

T = TypeVar("T")
Answer = TypeVar("Answer")

_REQUEST_SECONDS = 0.002
"""Time in seconds that a core is busy with a small request or with a batch of documents. Waiting
for less than that is not worth a thread."""

_NEAR_SECONDS = 0.003
"""Round trip in seconds up to which a server counts as near; on this machine it takes 0.0003."""

_LOOKS = 3
"""Number of measurements of a round trip that seems long: the server may only have been busy."""

_MOST = 16
"""Largest number of requests under way for each process: more gained nothing at a round trip of
40 ms."""


def requests_under_way(client: Client) -> int:
    """Return how many requests should be under way at a time, by the measured round trip.

    It is 1 for a server on this machine, and for one that does not answer at the moment.
    """
    if client not in _round_trips:
        try:
            _round_trips[client] = _measured(client)
        except PyMongoError:
            return 1
    seconds = _round_trips[client]
    return 1 if seconds < _NEAR_SECONDS else min(_MOST, math.ceil(seconds / _REQUEST_SECONDS))


def _measured(client: Client) -> float:
    """Return the shortest of a few round trips in seconds; one is enough if it is short."""
    shortest = math.inf
    for _look in range(_LOOKS):
        began = time.monotonic()
        client.admin.command("ping")
        shortest = min(shortest, time.monotonic() - began)
        if shortest < _NEAR_SECONDS:
            break
    return shortest


def ask_each(client: Client, ask: Callable[[T], Answer], items: Iterable[T]) -> list[Answer]:
    """Call a function that sends requests for each item, and return the answers in order.

    The first error is raised; what it leaves is not asked any more.
    """
    size = requests_under_way(client)
    if size == 1:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(size, "fastdump-ask") as threads:
        return list(threads.map(ask, items))
