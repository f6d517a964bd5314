"""What a connection string says, and what of it may be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

from fastdump.errors import UsageError
from fastdump.model import Connection

__all__ = ["database_of", "described", "hidden", "user_without_password"]

_URI = re.compile(r"mongodb(?:\+srv)?://(?:(?P<user>[^@/]*)@)?(?P<hosts>[^/?]+)(?:/(?P<db>[^?]*))?")


def described(
    uri: str,
    username: str | None = None,
    password: str | None = None,
    app_name: str | None = None,
) -> Connection:
    """The connection for a URI, with the address as it may be shown.

    Raises:
        UsageError: it is no MongoDB URI.
    """
    matched = _URI.match(uri)
    if matched is None:
        raise UsageError("the URI of the server must look like mongodb://host:port/database")
    return Connection(uri, matched["hosts"], username, password, app_name)


def database_of(uri: str) -> str | None:
    """The database that a URI names, if it names one."""
    matched = _URI.match(uri)
    return unquote(matched["db"]) if matched and matched["db"] else None


def user_without_password(uri: str) -> str | None:
    """The user that a URI names, if it has no password for it."""
    matched = _URI.match(uri)
    user = matched["user"] if matched else None
    return unquote(user) if user and ":" not in user else None


def hidden(uri: str) -> str:
    """The URI with its password hidden."""
    return re.sub(r"//([^:@/]*):[^/]*@", r"//\1:***@", uri)
