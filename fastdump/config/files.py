"""Read the settings of databases and backups from Komodo's configuration files.

Files are found and merged as Komodo does it: in `~/.config/komodo`, then in `.`, or in the places
that `--config` or `KOMODO_CLI_CONFIG_PATHS` name. Later files win, and a profile wins over all
files. The files contain Komodo's other settings too, so unknown keys are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from fastdump.config.parsers import names
from fastdump.errors import UsageError

__all__ = ["Files"]

_KEYWORDS = "*core.config*.*,*komodo.cli*.*"
"""Patterns of the files that are read in a folder; files of a later pattern win."""

Table = Mapping[str, object]

_BARE = ("uri", "password")


@dataclass(frozen=True, slots=True)
class Files:
    """Settings from configuration files: tables with their names, the one that wins first."""

    layers: tuple[tuple[str, Table], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        paths: Sequence[str],
        profile: str | None,
        environment: Mapping[str, str] = os.environ,
        *,
        bare: str = "database",
    ) -> Files:
        """Read the files that exist.

        Args:
            paths: named files or folders; empty for those of the environment or, without these,
                the usual ones.
            profile: the name or alias of the wanted profile; None for the default one.
            environment: the process's environment variables.
            bare: the table for a `uri` and a `password` that are not in a table, as in a file for
                mongodump; only in files that were named.

        Raises:
            UsageError: a named file does not exist, a file is malformed, or there is no such
                profile.
        """
        found = list(_find(paths, environment))
        layers = [
            (str(path), _with_bare(_parse(path), bare) if paths else _parse(path))
            for path in reversed(found)
        ]
        plain = cls(tuple(layers), environment)
        profile = (
            profile
            or environment.get("KOMODO_CLI_DEFAULT_PROFILE")
            or plain.text((("default_profile",), ("default",)))[0]
        )
        return cls((plain._profile(profile), *layers), environment) if profile else plain

    def text(self, keys: Sequence[tuple[str, ...]]) -> tuple[str | None, str]:
        """Return the value of the first of these keys that is set, and its place for messages.

        A key with an empty value counts as set: it hides the value of a file with lower rank.

        Raises:
            UsageError: the value is neither text nor a whole number.
        """
        for name, layer in self.layers:
            for key in keys:
                value = _at(layer, key)
                if value is None:
                    continue
                where = f"{'.'.join(key)} in {name}"
                if isinstance(value, bool) or not isinstance(value, str | int):
                    raise UsageError(f"{where} must be text or a whole number")
                return self._with_variables(str(value)) or None, where
        return None, ""

    def _with_variables(self, text: str) -> str:
        """Replace `${NAME}` by environment variables, as Komodo does; commands are not run."""
        return re.sub(r"\$\{(\w+)\}", lambda found: self.environment.get(found[1], ""), text)

    def _profile(self, wanted: str) -> tuple[str, Table]:
        known = []
        for name, layer in reversed(self.layers):
            profiles = layer.get("profile", [])
            for profile in profiles if isinstance(profiles, list) else []:
                called = _called(profile)
                if wanted in called:
                    return f"profile {called[0]} of {name}", profile
                known += called[:1]
        others = f"there are {', '.join(known)}" if known else "there is none in any file"
        raise UsageError(f"there is no profile {wanted!r}: {others}")


def _with_bare(table: Table, name: str) -> Table:
    """Return a table in which the bare keys of mongodump's files are in the table `name`."""
    known = {key: table[key] for key in _BARE if key in table}
    return {**table, name: {**known, **_table(table, name)}} if known else table


def _table(table: Table, name: str) -> Table:
    value = table.get(name)
    return value if isinstance(value, Mapping) else {}


def _called(profile: object) -> list[str]:
    """Return the name of a profile and its aliases."""
    if not isinstance(profile, Mapping):
        return []
    called: list[str] = []
    for key in ("config_profile", "name", "config_aliases", "aliases", "alias"):
        value = profile.get(key, [])
        called += [value] if isinstance(value, str) else map(str, value)
    return called


def _at(table: Table, key: Sequence[str]) -> object:
    value: object = table
    for name in key:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _find(paths: Sequence[str], environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files to read; the one that wins comes last."""
    variable = environment.get("KOMODO_CLI_CONFIG_PATHS") or environment.get(
        "KOMODO_CLI_CONFIG_PATH"
    )
    usual = [f"{home}/.config/komodo"] if (home := environment.get("HOME")) else []
    for name in paths or names(variable or "") or [*usual, "."]:
        path = Path(name)
        if path.is_dir():
            yield from _in_folder(path, names(environment.get("KOMODO_CLI_CONFIG_KEYWORDS", "")))
        elif path.is_file():
            yield path
        elif paths:
            raise UsageError(f"the configuration {path} does not exist: check --config")


def _in_folder(folder: Path, keywords: Sequence[str]) -> Iterator[Path]:
    try:
        # A Mac leaves files whose names begin with ._ beside others.
        found = (path for path in folder.iterdir() if not path.name.startswith("._"))
        files = sorted(path for path in found if path.suffix in _PARSERS)
    except OSError:
        return  # Komodo also skips a folder that it may not read
    for keyword in keywords or names(_KEYWORDS):
        yield from (path for path in files if fnmatchcase(path.name, keyword) and path.is_file())


def _parse(path: Path) -> Table:
    parse = _PARSERS.get(path.suffix)
    if parse is None:
        raise UsageError(f"{path}: its name must end with one of {', '.join(_PARSERS)}")
    try:
        found = parse(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UsageError(f"{path} must contain a table of settings")
    return found


def _toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


def _json(text: str) -> object:
    import json

    return json.loads(text)


def _yaml(text: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the line, which may contain a password.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{error.problem} (at line {line})") from None
    except yaml.YAMLError:
        raise ValueError("it is not valid YAML") from None


_PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
}
