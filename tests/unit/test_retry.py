"""What is tried again."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from fastdump.mongo.retry import passes


@pytest.mark.parametrize("code", [6, 43, 272, 402, 407, 433, 449, 462, 463])
def test_codes(code: int) -> None:
    assert passes(OperationFailure("refused", code))


@pytest.mark.parametrize("code", [None, 2, 13, 50, 121, 239, 246, 250, 291, 11000])
def test_other_codes(code: int | None) -> None:
    assert not passes(OperationFailure("refused", code))


@pytest.mark.parametrize(
    "label", ["RetryableError", "RetryableWriteError", "SystemOverloadedError"]
)
def test_labels(label: str) -> None:
    assert passes(OperationFailure("refused", 99999, {"errorLabels": [label]}))
    assert not passes(OperationFailure("refused", 99999, {"errorLabels": ["NoWritesPerformed"]}))


def test_a_member_that_is_behind() -> None:
    behind = (
        "readConcern atClusterTime value must not be greater than the current clusterTime. "
        "Requested clusterTime: { ts: Timestamp(2, 1) }; current clusterTime: { ts: 1 }"
    )
    assert passes(OperationFailure(behind, 72))
    assert not passes(OperationFailure("cannot be combined with read concern", 72))


def test_connections() -> None:
    assert passes(AutoReconnect("closed"))
    assert passes(ServerSelectionTimeoutError("none"))
    assert not passes(ValueError("other"))
