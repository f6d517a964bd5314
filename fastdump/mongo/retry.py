"""What is tried again when a server goes away, and for how long."""

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
"""Codes of the server's that say nothing of the request. Sources: the server's error_codes.yml (the
categories RetriableError, SystemOverloadedError, NeedRetargettingError), and the drivers'
specification of retryable reads, to which 43, 136, 175 and 237 are added: the cursor is gone, and
another can be opened."""

PASSING_LABELS = frozenset({"RetryableError", "RetryableWriteError", "SystemOverloadedError"})
"""By these a server says the same, whatever the code. Source: the drivers' specifications of client
backpressure and of retryable writes; all that is tried again here bears repeating."""

_INVALID_OPTIONS = 72
_BEHIND = "must not be greater than the current clusterTime"
"""What a member of a replica set says that has not heard yet of the time that is asked for."""

_LONGEST_PAUSE = 5.0


def passes(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
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
    """Attempts with growing pauses, for as long as the connection says, from the first failure on.

    Args:
        connection: says for how many seconds.
        between: called with what failed, before each pause.

    Returns:
        What calls a function, with its arguments, as often as it takes.
    """
    failed: list[float] = []

    def too_long(_state: RetryCallState) -> bool:
        # Not since the first attempt: that may have run for an hour.
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
