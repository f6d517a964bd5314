"""Say why a web service was not reached."""

from __future__ import annotations

from urllib.error import HTTPError, URLError

__all__ = ["reason"]


def reason(error: Exception) -> str:
    """Return the reason in words, without Python's own marks around it."""
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    return str(error)
