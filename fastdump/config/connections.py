"""Parse connection strings and addresses, and hide the secrets in them.

A password can contain any character, and a raw `/` or `@` in it would shift all following parts. So
a string is parsed only if it is unambiguous; of any other string nothing is ever shown.
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
"""Options whose value may contain an `@`; in any other place it might be the end of a password."""

_SECRET_OPTION = re.compile(r"(?i)\b(\w*password|authMechanismProperties)=[^&;]*")
"""Options with secrets; `authMechanismProperties` may contain a session token of AWS."""


class _Parts(NamedTuple):
    scheme: str
    user: str | None
    password: str | None
    hosts: str
    database: str
    options: str


def _parsed(uri: str) -> _Parts:
    """Split a connection string into its parts, which stay percent-encoded.

    Raises:
        UsageError: the string is not a MongoDB URI, or is ambiguous; the message quotes nothing of
            it.
    """
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise UsageError("the URI of the server must look like mongodb://host:port/database")
    found = _URI.fullmatch(uri)
    user = _USER.fullmatch(found["user"] or "") if found else None
    if found is None or user is None or not _is_clear(found):
        raise UsageError(
            "the URI of the server is not valid: it must look like mongodb://host:port/database, "
            "and in a user name or a password each of : / ? @ % must be percent-encoded (%3A, %2F, "
            "%3F, %40, %25); or leave the password out, and use --password-file"
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
    """Return the URI of an address: hosts with or without ports, the path of a socket, or a URI."""
    if "://" in address:
        return address
    user, at, rest = address.rpartition("@")
    hosts = [rest] if rest.startswith("/") else rest.split(",")
    return f"mongodb://{user}{at}{','.join(map(_as_host, hosts))}"


def _as_host(text: str) -> str:
    """Return a host in the form that a URI needs."""
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
    """Return the connection for a URI, with the address for messages.

    Raises:
        UsageError: the URI is not a MongoDB URI.
    """
    return Connection(uri, unquote(_parsed(uri).hosts), username, password, app_name)


def database_of(uri: str) -> str | None:
    """Return the database that a URI names, or None.

    Raises:
        UsageError: the URI is not a MongoDB URI.
    """
    return unquote(_parsed(uri).database) or None


def user_without_password(uri: str) -> str | None:
    """Return the user that a URI names without a password, or None.

    Raises:
        UsageError: the URI is not a MongoDB URI.
    """
    parts = _parsed(uri)
    return unquote(parts.user) if parts.user and parts.password is None else None


def hidden(uri: str) -> str:
    """Return the URI with its password and the secrets in its options hidden.

    Raises:
        UsageError: the URI is not a MongoDB URI.
    """
    parts = _parsed(uri)
    login = "" if parts.user is None else f"{parts.user}{':***' if parts.password else ''}@"
    path = f"/{parts.database}" if parts.database or parts.options else ""
    options = _SECRET_OPTION.sub(r"\1=***", parts.options)
    return f"{parts.scheme}{login}{parts.hosts}{path}{f'?{options}' if options else ''}"
