"""What a connection string or an address says, and what of it may be shown.

A password may hold anything, and a raw `/` or `@` in it moves the borders of all that follows. So a
string is taken apart only if there is no doubt about it, and nothing of another one is ever shown.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

from fastdump.errors import UsageError
from fastdump.model import Connection

__all__ = ["as_uri", "database_of", "described", "hidden", "user_without_password"]

_URI = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?://)(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^@/?]*)"
    r"(?:/(?P<database>[^@?]*))?(?:\?(?P<options>.*))?",
    re.DOTALL,
)
_USER = re.compile(r"(?P<name>[^:]*)(?P<password>:[^:]*)?")
_HOST = re.compile(r"(?:\[[\da-fA-F:.]+(?:%25\w+)?\]|[^:\[\]\s]+)(?::\d{1,5})?")
_BARE_PERCENT = re.compile(r"%(?![\da-fA-F]{2})")

_TEXTS = frozenset(
    {"appname", "authmechanismproperties", "authsource", "readpreferencetags", "replicaset",
     "sslcertificateauthorityfile", "tlscafile", "tlscertificatekeyfile",
     "tlscertificatekeyfilepassword", "tlscrlfile"}
)  # fmt: skip
"""Options whose value may hold an `@`; in any other it is the end of a password."""

_SECRET_OPTION = re.compile(r"(?i)\b(\w*password|authMechanismProperties)=[^&;]*")
"""The second may hold a session token of AWS."""


class _Parts(NamedTuple):
    scheme: str
    user: str | None
    password: str | None
    hosts: str
    database: str
    options: str


def _parsed(uri: str) -> _Parts:
    """Take a connection string apart; all parts stay percent-encoded.

    Raises:
        UsageError: it is no MongoDB URI, or there is a doubt about its parts; the message holds
            nothing of it.
    """
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise UsageError("the URI of the server must look like mongodb://host:port/database")
    found = _URI.fullmatch(uri)
    user = _USER.fullmatch(found["user"] or "") if found else None
    if found is None or user is None or not _is_clear(found):
        raise UsageError(
            "the URI of the server cannot be read: it must look like mongodb://host:port/database, "
            "and in a user name or a password each of : / ? @ % must be percent-encoded (%3A, %2F, "
            "%3F, %40, %25); or leave the password out, and give it by --password-file"
        )
    has_user = found["user"] is not None
    return _Parts(
        found["scheme"],
        user["name"] if has_user else None,
        user["password"],
        found["hosts"],
        found["database"] or "",
        found["options"] or "",
    )


def _is_clear(found: re.Match[str]) -> bool:
    options = re.split("[&;]", found["options"] or "")
    return (
        all(_HOST.fullmatch(host) for host in found["hosts"].split(","))
        and not _BARE_PERCENT.search(found["user"] or "")
        and all(one.partition("=")[0].lower() in _TEXTS for one in options if "@" in one)
    )


def as_uri(address: str) -> str:
    """Return the URI of an address: hosts with or without ports, a path of a socket, or a URI."""
    if "://" in address:
        return address
    user, at, rest = address.rpartition("@")
    hosts = [rest] if rest.startswith("/") else rest.split(",")
    return f"mongodb://{user}{at}{','.join(map(_as_host, hosts))}"


def _as_host(text: str) -> str:
    """Return a host as it stands in a URI."""
    if text.startswith("/"):
        return quote(text, safe="")
    try:
        return f"[{quote(str(IPv6Address(text)), safe=':')}]"
    except AddressValueError:
        return text


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
    return Connection(uri, unquote(_parsed(uri).hosts), username, password, app_name)


def database_of(uri: str) -> str | None:
    """The database that a URI names, if it names one.

    Raises:
        UsageError: it is no MongoDB URI.
    """
    return unquote(_parsed(uri).database) or None


def user_without_password(uri: str) -> str | None:
    """The user that a URI names, if it has no password for it.

    Raises:
        UsageError: it is no MongoDB URI.
    """
    parts = _parsed(uri)
    return unquote(parts.user) if parts.user and parts.password is None else None


def hidden(uri: str) -> str:
    """The URI with its password and the secrets among its options hidden.

    Raises:
        UsageError: it is no MongoDB URI.
    """
    parts = _parsed(uri)
    login = "" if parts.user is None else f"{parts.user}{':***' if parts.password else ''}@"
    path = f"/{parts.database}" if parts.database or parts.options else ""
    options = _SECRET_OPTION.sub(r"\1=***", parts.options)
    return f"{parts.scheme}{login}{parts.hosts}{path}{f'?{options}' if options else ''}"
