"""The settings of one run, each from the first place in which it is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from fastdump.config import parsers
from fastdump.config.arguments import MAX_WORKERS
from fastdump.config.connections import (
    as_uri,
    database_of,
    described,
    hidden,
    user_without_password,
)
from fastdump.config.files import Files
from fastdump.config.names import (
    CONNECTION_OPTIONS,
    ITEMS,
    LOG_FORMATS,
    NOTIFY_ON,
    OPTIONS,
    SOURCE,
    TARGET,
    Name,
    Origin,
)
from fastdump.errors import UsageError
from fastdump.model import (
    DEFAULT_DATABASE,
    LAYOUTS,
    METHODS,
    NONE,
    PERIODS,
    Compression,
    Connection,
    Limits,
    Location,
    Retention,
    Watchers,
    is_url,
)

__all__ = ["SEPARATOR", "Settings", "Shown", "read_text"]

T = TypeVar("T")

_IMPLIED = {
    "layout": "komodo, or repository in object stores and where there is one",
    "level": "1",
}
"""The defaults that depend on something else, for people."""

SEPARATOR = "\0"
"""Separator between the values of an option given several times; no name contains it."""


class _Value(NamedTuple):
    text: str
    origin: str
    """Flag, variable or place in a file that the value was read from, for messages."""


class Shown(NamedTuple):
    """A setting for printing, without secrets."""

    name: str
    value: str
    origin: str


class Settings:
    """Settings of one run: flags win over the environment, then files, then defaults.

    Args:
        flags: the options of the command line by name, without dashes in front; None or absent if
            not given.
        environment: the process's environment variables.
        files: the settings from configuration files.
    """

    def __init__(
        self,
        flags: Mapping[str, str | None],
        environment: Mapping[str, str] = os.environ,
        files: Files | None = None,
    ) -> None:
        self._flags = flags
        self._environment = environment
        self._files = files or Files()

    def text(self, name: str) -> str | None:
        """Return the value of an option; None if it is not set and has no default."""
        return self._option(name).text or None

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        """Return the value of an option, parsed by `parse`.

        Raises:
            UsageError: `parse` raised a ValueError, whose message describes the allowed values.
        """
        return _parsed(self._option(name), parse)

    @property
    def folder(self) -> Location:
        """The backups folder, or the address of a repository in an object store."""
        text = self._option("folder").text
        return text if is_url(text) else Path(text)

    @property
    def max_backups(self) -> int:
        """The number of backups to keep; 0 for all."""
        return self.parsed("max-backups", parsers.whole_number(0))

    @property
    def retention(self) -> Retention:
        """The rules by which backups stay. Beside others, the default of `max_backups` is none."""
        within = self.parsed("keep-within", parsers.duration)
        rules = {rule: self.parsed(f"keep-{rule}", parsers.number_or_none) for rule in PERIODS}
        others = Retention(within=within, **{rule: number or 0 for rule, number in rules.items()})
        if others.limits and self._find(OPTIONS["max-backups"][0]) is None:
            return others
        return replace(others, last=self.max_backups)

    @property
    def limits(self) -> Limits:
        """The limits within which all is well with backups."""
        return Limits(
            max_age=self.parsed("max-age", parsers.duration),
            max_unverified=self.parsed("max-unverified", parsers.duration),
            min_documents=self.parsed("min-documents", parsers.number_or_none),
            max_shrink=self.parsed(
                "max-shrink", lambda text: parsers.percentage(text) if text else None
            ),
        )

    @property
    def watchers(self) -> Watchers:
        """The services and files that are told about this run."""
        return Watchers(
            metrics=self.text("metrics"),
            heartbeat=self.text("heartbeat"),
            notify=self.texts("notify", lambda text: tuple(text.split())),
            always=self.parsed("notify-on", parsers.one_of(NOTIFY_ON)) == NOTIFY_ON[1],
        )

    @property
    def log_format(self) -> str | None:
        """The form of the log; None for tables and progress for people."""
        return self._word("log-format", LOG_FORMATS)

    @property
    def workers(self) -> int:
        """The number of processes."""
        return self.parsed("workers", parsers.whole_number(1, MAX_WORKERS))

    @property
    def layout(self) -> str | None:
        """The layout in which backups are written; None means the one that suits the place."""
        return self._word("layout", LAYOUTS)

    def texts(
        self, name: str, separate: Callable[[str], tuple[str, ...]] = parsers.names
    ) -> tuple[str, ...]:
        """Return the values of an option that can be given several times.

        On the command line each option is one value, even with commas in it; in the environment and
        in files, values are separated by commas, or as `separate` says.
        """
        value = self._option(name)
        if value.origin.startswith("--"):
            return tuple(value.text.split(SEPARATOR))
        return separate(value.text)

    @property
    def compression(self) -> Compression:
        """The way in which a new backup is compressed."""
        found = self.parsed("compression", parsers.compression)
        if found.level is not None or found.method == NONE:
            return found
        lowest, highest, usual = METHODS[found.method]
        level = self.parsed(
            "level", lambda text: parsers.whole_number(lowest, highest)(text or f"{usual}")
        )
        return found._replace(level=level)

    @property
    def mode(self) -> int:
        """The permissions of a backup's files."""
        return self.parsed("mode", parsers.mode)

    @property
    def max_rate(self) -> float | None:
        """The highest speed of reading in MB of documents a second; None for no limit."""
        return self.parsed("max-rate", parsers.positive)

    @property
    def latest_only(self) -> tuple[str, ...]:
        """The collections of which only the latest copy is kept."""
        return self.parsed("latest-only", parsers.names)

    def names_server(self, origin: Origin) -> bool:
        """Return True if a server of that role is named."""
        return any(self._find(origin.name(item)) for item in ("uri", "address"))

    def connection(self, origin: Origin) -> Connection:
        """Return the server of that role.

        A URI wins over an address, as in Komodo, and has its own user. But an address given as a
        flag wins over a URI from the environment or a file.

        Raises:
            UsageError: no server is named, or the options contradict each other.
        """
        uri, address, username, password, app_name = (
            self._find(origin.name(item))
            for item in ("uri", "address", "username", "password", "app_name")
        )
        if uri and _only_flag(address):
            if _only_flag(uri):
                assert address is not None  # noqa: S101 - a flag was given
                raise UsageError(
                    f"{uri.origin} and {address.origin} both name a server: leave one out"
                )
            uri = None
        if uri:
            # Komodo ignores a user and a password beside a URI, which usually contains both. Files
            # for mongodump have the user in the URI, and the password beside it.
            bare = _named(uri, user_without_password)
            username = _Value(bare, uri.origin) if bare else _only_flag(username)
            password = password if bare else _only_flag(password)
        where = uri or address
        if not where:
            raise UsageError(
                f"no {origin.role} server is named: give --{origin.flag}uri or "
                f"--{origin.flag}address, or set {origin.variable}URI or {origin.variable}ADDRESS"
            )
        return replace(
            _named(where, lambda text: described(text if uri else as_uri(text))),
            username=_text(username),
            password=_text(password),
            app_name=_text(app_name),
            options=tuple(self._connection_options(origin)),
            read_preference=self.text("read-preference") if origin is SOURCE else None,
            retry_seconds=self.parsed("retry-for", parsers.whole_number(0)),
        )

    def _connection_options(self, origin: Origin) -> Iterator[tuple[str, str | bool]]:
        for flag, option in CONNECTION_OPTIONS.items():
            value = self._find(origin.option(flag))
            if value is None:
                continue
            if option.is_file:
                value = _from_file(value.text, value.origin)
            yield option.uri, _parsed(value, parsers.switch) if option.is_switch else value.text

    def database(self, origin: Origin) -> str:
        """Return the database of that role: as named, else that of the URI, else `komodo`."""
        return self.named_database(origin) or DEFAULT_DATABASE

    def named_database(self, origin: Origin) -> str | None:
        """Return the database of that role: as named, else that of the URI, else None."""
        named = self._find(origin.name("db_name"))
        return named.text if named else database_of(self.connection(origin).uri)

    def shown(self) -> Iterator[Shown]:
        """Yield every setting in force with its origin, with passwords hidden.

        Raises:
            UsageError: a value in a file is not valid, or a URI is not a MongoDB URI.
        """
        for origin in (SOURCE, TARGET):
            for item in ITEMS:
                name = origin.name(item)
                value = self._find(name)
                if value is None and item == "db_name":
                    value = self._implied_database(origin)
                if value is not None:
                    text = _named(value, partial(_without_secrets, item))
                    yield Shown(f"{origin.role} {item.replace('_', ' ')}", text, value.origin)
        for flag, (name, _default) in OPTIONS.items():
            if flag == "size":
                continue  # only the demo has it
            option = self._option(flag)
            shown = "***" if name.in_file and option.text else option.text.replace(SEPARATOR, ", ")
            yield Shown(flag.replace("-", " "), shown or _IMPLIED.get(flag, "none"), option.origin)

    def _implied_database(self, origin: Origin) -> _Value:
        uri = self._find(origin.name("uri"))
        name = _named(uri, database_of) if uri else None
        return _Value(name, uri.origin) if uri and name else _Value(DEFAULT_DATABASE, "default")

    def _word(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """Return the word that an option is; None if it is not set."""
        return self.parsed(name, parsers.one_of(allowed)) if self.text(name) else None

    def _option(self, flag: str) -> _Value:
        name, default = OPTIONS[flag]
        return self._find(name) or _Value(default, "default")

    def _find(self, name: Name) -> _Value | None:
        if (flag := self._flags.get(name.flag)) is not None:
            where = f"--{name.flag}"
            return _from_file(flag, where) if name.flag_in_file else _Value(flag, where)
        # An empty variable counts as not set: compose files pass unset variables on as empty ones.
        for variable in name.variables if name.in_file else ():
            if path := self._environment.get(f"{variable}_FILE"):
                return _from_file(path, f"{variable}_FILE")
        for variable in name.variables:
            if text := self._environment.get(variable):
                return _Value(text, variable)
        in_file, where = self._files.text(name.keys)
        return _Value(in_file, where) if in_file else None


def _named(value: _Value, read: Callable[[str], T]) -> T:
    """Parse a value; add its origin to an error."""
    try:
        return read(value.text)
    except UsageError as error:
        raise UsageError(f"{value.origin}: {error}") from None


def _without_secrets(item: str, text: str) -> str:
    if item == "password":
        return "***"
    if item == "address":
        return hidden(as_uri(text)) if "@" in text or "://" in text else text
    return hidden(text) if item == "uri" else text


def _parsed(value: _Value, parse: Callable[[str], T]) -> T:
    try:
        return parse(value.text)
    except ValueError as error:
        raise UsageError(f"{value.origin} is {value.text!r}, but must be {error}") from None


def _only_flag(value: _Value | None) -> _Value | None:
    return value if value and value.origin.startswith("--") else None


def _text(value: _Value | None) -> str | None:
    return value.text if value else None


def _from_file(path: str, origin: str) -> _Value:
    return _Value(read_text(path, origin), origin)


def read_text(path: str, origin: str) -> str:
    """Return the content of a file, without white space around it.

    Raises:
        UsageError: the file cannot be read; the message names the origin of its path.
    """
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{origin}: {path} cannot be read: {said}") from None
