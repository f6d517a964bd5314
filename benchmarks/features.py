"""The features of newer servers, with the version that introduced each."""

from __future__ import annotations

from collections.abc import Iterable

from fastdump.mongo.client import Client

__all__ = ["SINCE", "features", "features_of"]

SINCE = {
    "fields named $": (5, 0),
    "oplog updates of version 2": (5, 0),
    "time series": (5, 0),
    "expiry of 2147483647 s": (5, 0, 14),
    "clustered collections": (5, 3),
    "snapshots": (6, 0),
}
"""The first version of MongoDB with each feature that tests or their data need."""


def features(version: Iterable[int]) -> frozenset[str]:
    """Return the features of `SINCE` that a version of MongoDB has."""
    found = tuple(version)
    return frozenset(feature for feature, since in SINCE.items() if found >= since)


def features_of(client: Client) -> frozenset[str]:
    """Return the features of `SINCE` that a server has."""
    return features(client.server_info()["versionArray"])
