"""Retry requests to a server after errors that will pass."""

from __future__ import annotations

import time
from collections.abc import Callable

from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from fastdump.model import Connection

__all__ = ["PASSING_LABELS", "WILL_PASS", "passes", "retrying"]

WILL_PASS = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        43,  # CursorNotFound
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        133,  # FailedToSatisfyReadPreference: mongos finds no primary
        134,  # ReadConcernMajorityNotAvailableYet
        136,  # CappedPositionLost
        150,  # StaleEpoch
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        237,  # CursorKilled
        249,  # StaleDbVersion
        262,  # ExceededTimeLimit
        272,  # MigrationConflict
        365,  # TemporarilyUnavailable: the cache is full
        402,  # ResourceExhausted
        407,  # PooledConnectionAcquisitionExceededTimeLimit
        433,  # AdmissionQueueOverflow
        449,  # RateLimitExceeded
        450,  # PooledConnectionAcquisitionRejected
        453,  # InterruptedDueToReshardingCriticalSection
        462,  # IngressRequestRateLimitExceeded
        463,  # of servers under load, as 462
        9001,  # SocketException
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        91331,  # RetriableRemoteCommandFailure
        10045600,  # InterruptedDueToFCVChange
    }
)
"""Error codes that are not the fault of the request. Sources: the server's error_codes.yml (the
categories RetriableError, SystemOverloadedError, NeedRetargettingError), and the drivers'
specification of retryable reads. Added are 43, 136, 175 and 237: the cursor is gone, and another
can be opened."""

PASSING_LABELS = frozenset({"RetryableError", "RetryableWriteError", "SystemOverloadedError"})
"""Error labels that mean the same with any code. Source: the drivers' specifications of client
backpressure and of retryable writes. All requests that are retried here can safely be repeated."""

_INVALID_OPTIONS = 72
_BEHIND = "must not be greater than the current clusterTime"
"""Error of a member of a replica set that does not yet know of the cluster time in a request."""

_LONGEST_PAUSE = 5.0
"""Longest pause between two attempts, in seconds."""


def passes(error: BaseException) -> bool:
    """Return True if the same request may succeed later."""
    if isinstance(error, AutoReconnect):
        return True
    if not isinstance(error, OperationFailure):
        return False
    if error.code == _INVALID_OPTIONS:
        return _BEHIND in str(error)
    return error.code in WILL_PASS or any(map(error.has_error_label, PASSING_LABELS))


def retrying(
    connection: Connection, between: Callable[[PyMongoError], None] | None = None
) -> Retrying:
    """Return a function that calls another one again, with growing pauses, while errors will pass.

    Args:
        connection: the connection, whose `retry_seconds` count from the first failure on.
        between: called with the error before each pause.

    Returns:
        An object to call with a function and its arguments; it can also be iterated for attempts.
    """
    failed: list[float] = []

    def too_long(_state: RetryCallState) -> bool:
        # Count from the first failure: the first attempt may have run for an hour before it.
        failed.append(time.monotonic())
        return failed[-1] - failed[0] >= connection.retry_seconds

    def note(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if between is not None and isinstance(error, PyMongoError):
            between(error)

    return Retrying(
        retry=retry_if_exception(passes),
        stop=too_long,
        wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE),
        before_sleep=note,
        reraise=True,
    )
