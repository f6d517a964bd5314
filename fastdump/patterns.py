r"""Patterns of namespaces, and renaming by them, with mongorestore's rules.

`*` matches anything, dots too; `\*` and `\\` are an asterisk and a backslash. To rename, an
asterisk in what is matched stands for that in the same place of the new name; or both name their
parts as `$name$`. Where several match, the last one wins.

Source: MongoDB Database Tools of August 2026, mongorestore/ns/ns.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fastdump.errors import UsageError
from fastdump.model import Namespace

__all__ = ["Patterns", "Renaming", "escaped", "split_namespace"]

_TOKEN = re.compile(r"\\([\\*])|(\*)|\$([^$]*)\$|(.)", re.DOTALL)


def escaped(name: str) -> str:
    """A pattern that matches just that name."""
    return name.replace("\\", "\\\\").replace("*", "\\*")


def split_namespace(text: str) -> Namespace:
    """The namespace of a full name: a database's name has no dot.

    Raises:
        UsageError: it has no dot, or one of the names is empty.
    """
    database, _dot, collection = text.partition(".")
    if not database or not collection:
        raise UsageError(f"{text!r} is no namespace: it must look like database.collection")
    return Namespace(database, collection)


class Patterns:
    """Some patterns, any of which may match.

    Args:
        texts: the patterns.

    Raises:
        UsageError: one holds a `$`, which no name of a database or collection does.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._known = {text: _matcher(text) for text in texts}

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def texts(self) -> tuple[str, ...]:
        """The patterns as they were given."""
        return tuple(self._known)

    def match(self, name: str) -> bool:
        """Whether one of them matches the whole name."""
        return any(known.fullmatch(name) for known in self._known.values())

    def unused(self, names: Iterable[str]) -> list[str]:
        """Those that match none of these names."""
        names = list(names)
        return [text for text, known in self._known.items() if not any(map(known.fullmatch, names))]


def _matcher(text: str) -> re.Pattern[str]:
    if "$" in text:
        raise UsageError(f"the pattern {text!r} holds a '$', which stands only where names change")
    return _compiled(text)[0]


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    matcher: re.Pattern[str]
    replaced: Callable[[re.Match[str]], str]


class Renaming:
    """New names for namespaces.

    Args:
        sources: patterns of full names.
        targets: for each, the new full name.

    Raises:
        UsageError: they are not equally many, or one does not fit the other.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        if len(sources) != len(targets):
            raise UsageError(
                f"each --ns-from needs its --ns-to: there are {len(sources)} and {len(targets)}"
            )
        self._rules = [_rule(*pair) for pair in zip(sources, targets, strict=True)]

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def sources(self) -> tuple[str, ...]:
        """The patterns of the old names."""
        return tuple(rule.text for rule in self._rules)

    def renamed(self, namespace: Namespace) -> Namespace | None:
        """The new name; None where none of them matches.

        Raises:
            UsageError: the new name is no namespace.
        """
        for rule in reversed(self._rules):
            if found := rule.matcher.fullmatch(str(namespace)):
                return split_namespace(rule.replaced(found))
        return None

    def unused(self, names: Iterable[str]) -> list[str]:
        """The patterns that match none of these names."""
        names = list(names)
        return [rule.text for rule in self._rules if not any(map(rule.matcher.fullmatch, names))]


def _rule(source: str, target: str) -> _Rule:
    named = "$" in source
    if not named and _stars(source) != _stars(target):
        raise UsageError(f"{source!r} and {target!r} do not have the same number of asterisks")
    matcher, variables = _compiled(source, named=named)
    if len(set(variables)) != len(variables):
        raise UsageError(f"{source!r} names a variable twice")
    pieces = list(_pieces(target, named=named))
    for is_variable, piece in pieces:
        if is_variable and piece not in variables:
            raise UsageError(f"{target!r} names the variable {piece!r}, which {source!r} does not")

    def replaced(found: re.Match[str]) -> str:
        return "".join(
            found[variables.index(piece) + 1] if is_variable else piece
            for is_variable, piece in pieces
        )

    return _Rule(source, matcher, replaced)


def _compiled(text: str, *, named: bool = False) -> tuple[re.Pattern[str], list[str]]:
    """The expression that a pattern stands for, and the variables of its groups in order."""
    pieces = list(_pieces(text, named=named))
    expression = "".join("(.*?)" if variable else re.escape(piece) for variable, piece in pieces)
    return re.compile(expression, re.DOTALL), [piece for variable, piece in pieces if variable]


def _pieces(text: str, *, named: bool) -> Iterator[tuple[bool, str]]:
    """The parts of a pattern: whether each is a variable, and its name or the plain text.

    Asterisks are variables called by their number, where no others are named.
    """
    stars = 0
    for found in _TOKEN.finditer(text):
        plain, star, variable, other = found.groups()
        if star and not named:
            stars += 1
            yield True, f"{stars}"
        elif variable is not None and named:
            yield True, variable
        elif other == "$" or (variable is not None and not named):
            raise UsageError(f"{text!r} has a '$' that is not part of a $variable$")
        else:
            yield False, plain or star or other


def _stars(text: str) -> int:
    return sum(1 for found in _TOKEN.finditer(text) if found[2])
