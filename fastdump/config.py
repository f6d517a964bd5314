"""Where settings come from: flags, then the environment, then defaults.

The only reader of the environment. The names are Komodo's where Komodo has one, so that a machine
that is set up for it needs nothing else, and `FASTDUMP_<OPTION>` for the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from fastdump.errors import UsageError
from fastdump.model import Connection

__all__ = [
    "DEFAULT_DATABASE",
    "DEFAULT_FOLDER",
    "DEFAULT_LATEST_ONLY",
    "DEFAULT_LEVEL",
    "DEFAULT_MAX_BACKUPS",
    "SOURCE",
    "TARGET",
    "Origin",
    "Settings",
    "database_of",
    "described",
    "one_of",
    "whole_number",
]

DEFAULT_DATABASE = "komodo"
DEFAULT_FOLDER = "/backups"
DEFAULT_LATEST_ONLY = ("Stats",)
DEFAULT_LEVEL = 1
DEFAULT_MAX_BACKUPS = 14

T = TypeVar("T")

_URI = re.compile(r"mongodb(?:\+srv)?://(?:(?P<user>[^@/]*)@)?(?P<hosts>[^/?]+)(?:/(?P<db>[^?]*))?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the description of one server comes from.

    Source and target take different names on purpose: a machine set up to back up cannot restore
    by accident.
    """

    flag: str
    """What its options begin with."""
    variable: str
    """What its environment variables begin with."""
    role: str


SOURCE = Origin("", "KOMODO_DATABASE_", "source")
TARGET = Origin("target-", "KOMODO_CLI_DATABASE_TARGET_", "target")

_VARIABLES = {
    "folder": "KOMODO_CLI_BACKUPS_FOLDER",
    "max-backups": "KOMODO_CLI_MAX_BACKUPS",
}


class _Value(NamedTuple):
    text: str
    origin: str
    """The flag or variable that it was read from, for messages."""


class Settings:
    """The settings of one run.

    Args:
        flags: the options of the command line by name, without dashes in front; None or absent
            where not given.
        environment: the process's environment variables.
    """

    def __init__(
        self, flags: Mapping[str, str | None], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._flags = flags
        self._environment = environment

    def text(self, name: str) -> str | None:
        """An option's value, or None where nothing sets it."""
        value = self._find(name, self._variable(name))
        return value.text if value else None

    def parsed(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """An option's value, read by `parse`.

        Raises:
            UsageError: `parse` raised a ValueError, whose message says what is allowed.
        """
        value = self._find(name, self._variable(name))
        if value is None:
            return default
        try:
            return parse(value.text)
        except ValueError as error:
            raise UsageError(f"{value.origin} is {value.text!r}, but must be {error}") from None

    @property
    def folder(self) -> Path:
        """The backups folder."""
        return Path(self.text("folder") or DEFAULT_FOLDER)

    @property
    def max_backups(self) -> int:
        """How many backups to keep; 0 is all."""
        return self.parsed("max-backups", whole_number(0), DEFAULT_MAX_BACKUPS)

    def workers(self, default: int) -> int:
        """How many processes to use."""
        return self.parsed("workers", whole_number(1, 256), default)

    @property
    def level(self) -> int:
        """The level of compression."""
        return self.parsed("level", whole_number(0, 3), DEFAULT_LEVEL)

    @property
    def latest_only(self) -> tuple[str, ...]:
        """The collections of which only the latest copy is kept."""
        return self.parsed("latest-only", _names, DEFAULT_LATEST_ONLY)

    def connection(self, origin: Origin) -> Connection:
        """The server of that role.

        A URI beats an address of the same standing, and brings its own user; an address given as
        a flag beats a URI of the environment.

        Raises:
            UsageError: none is named, or the options contradict each other.
        """
        uri, address = self._server("uri", origin), self._server("address", origin)
        if uri and address:
            if _only_flag(uri) and _only_flag(address):
                raise UsageError(f"{uri.origin} and {address.origin} both name a server: drop one")
            if _only_flag(address):
                uri = None
        user, password = self._server("username", origin), self._password(origin)
        if uri:
            # Komodo ignores user and password of the environment beside a URI.
            user, password = _only_flag(user), _only_flag(password)
            return described(uri.text, _text(user), _text(password))
        if address:
            text = address.text if "://" in address.text else f"mongodb://{address.text}"
            return described(text, _text(user), _text(password))
        raise UsageError(
            f"no {origin.role} server is named: give --{origin.flag}uri or --{origin.flag}address, "
            f"or set {origin.variable}URI or {origin.variable}ADDRESS"
        )

    def database(self, origin: Origin) -> str:
        """The database of that role: as named, else that of the URI, else `komodo`."""
        flag = "target-db" if origin is TARGET else "db"
        named = self._find(flag, f"{origin.variable}DB_NAME")
        return named.text if named else database_of(self.connection(origin).uri)

    def _server(self, name: str, origin: Origin) -> _Value | None:
        variable = f"{origin.variable}{name.upper()}"
        return self._find(f"{origin.flag}{name}", variable) or self._from_file(
            f"{variable}_FILE", self._environment.get(f"{variable}_FILE")
        )

    def _password(self, origin: Origin) -> _Value | None:
        flag = f"{origin.flag}password-file"
        return self._from_file(f"--{flag}", self._flags.get(flag)) or self._server(
            "password", origin
        )

    def _from_file(self, origin: str, path: str | None) -> _Value | None:
        if not path:
            return None
        try:
            return _Value(Path(path).read_text().strip(), origin)
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"{origin}: {path} cannot be read: {said}") from None

    def _find(self, name: str, variable: str) -> _Value | None:
        if (flag := self._flags.get(name)) is not None:
            return _Value(flag, f"--{name}")
        # A variable that is set to nothing is what compose files make of one that is not set.
        if text := self._environment.get(variable):
            return _Value(text, variable)
        return None

    @staticmethod
    def _variable(name: str) -> str:
        return _VARIABLES.get(name) or f"FASTDUMP_{name.upper().replace('-', '_')}"


def _only_flag(value: _Value | None) -> _Value | None:
    return value if value and value.origin.startswith("--") else None


def _text(value: _Value | None) -> str | None:
    return value.text if value else None


def described(uri: str, username: str | None = None, password: str | None = None) -> Connection:
    """The connection for a URI, with the address as it may be shown.

    Raises:
        UsageError: it is no MongoDB URI.
    """
    matched = _URI.match(uri)
    if matched is None:
        raise UsageError("the URI of the server must look like mongodb://host:port/database")
    if username and password is None and "@" not in uri:
        raise UsageError(
            f"user {username!r} has no password: name a file that holds it with --password-file, "
            "or set the environment variable"
        )
    return Connection(uri, matched["hosts"], username, password)


def database_of(uri: str) -> str:
    """The database that a URI names, else `komodo`."""
    matched = _URI.match(uri)
    return unquote((matched and matched["db"]) or DEFAULT_DATABASE)


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in that range."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) else -1
        if minimum <= number and (maximum is None or number <= maximum):
            return number
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"a whole number of at least {minimum}{upper}")

    return parse


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of fixed words."""

    def parse(text: str) -> str:
        if text in choices:
            return text
        raise ValueError(f"one of {', '.join(choices)}")

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
