"""Ping a service that raises an alarm if a run does not begin, does not end, or fails.

The addresses are those of https://healthchecks.io/docs/http_api/, which others understand too.
"""

from __future__ import annotations

from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from fastdump.errors import WatcherError
from fastdump.runs.reasons import reason

__all__ = ["FAILED", "STARTED", "SUCCEEDED", "ping"]

STARTED = "/start"
SUCCEEDED = ""
FAILED = "/fail"

_TIMEOUT = 5.0
"""Limit for one answer, in seconds."""

_ATTEMPTS = 3


def ping(url: str, event: str, text: str = "") -> None:
    """Tell of an event.

    Args:
        url: the address of the check.
        event: one of `STARTED`, `SUCCEEDED` and `FAILED`.
        text: what the service shows beside the event.

    Raises:
        WatcherError: the service cannot be reached or refuses.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise WatcherError("the address of the heartbeat must begin with http:// or https://")
    address = parts._replace(path=parts.path.rstrip("/") + event).geturl()
    try:
        _post(Request(address, data=text.encode(), method="POST"))  # noqa: S310 - see above
    except (OSError, HTTPException, ValueError) as error:
        # The path is as good as a password.
        raise WatcherError(
            f"no heartbeat could be sent to {parts.hostname}: {reason(error)}"
        ) from None


@retry(
    retry=retry_if_exception_type(OSError),
    stop=stop_after_attempt(_ATTEMPTS),
    wait=wait_fixed(1),
    reraise=True,
)
def _post(request: Request) -> None:
    with urlopen(request, timeout=_TIMEOUT) as reply:  # noqa: S310 - the caller has checked it
        reply.read()
