r"""Match and rename namespaces by patterns, with mongorestore's rules.

`*` matches anything, including dots; `\*` and `\\` are an asterisk and a backslash. For renaming,
each asterisk of the old name is inserted at the asterisk in the same position of the new name; or
both patterns name their parts as `$name$`. If several patterns match, the last one wins.

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
    """Return a pattern that matches exactly that name."""
    return name.replace("\\", "\\\\").replace("*", "\\*")


def split_namespace(text: str) -> Namespace:
    """Return the namespace of a full name, which is split at the first dot.

    Raises:
        UsageError: the text has no dot, or one of the names is empty.
    """
    database, _dot, collection = text.partition(".")
    if not database or not collection:
        raise UsageError(f"{text!r} is not a namespace: it must look like database.collection")
    return Namespace(database, collection)


class Patterns:
    """Set of patterns, which matches a name if any of them does.

    Args:
        texts: the patterns.

    Raises:
        UsageError: a pattern contains a `$`, which is only used for renaming.
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
        """Return True if one of the patterns matches the whole name."""
        return any(known.fullmatch(name) for known in self._known.values())

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the patterns that match none of these names."""
        names = list(names)
        return [text for text, known in self._known.items() if not any(map(known.fullmatch, names))]


def _matcher(text: str) -> re.Pattern[str]:
    if "$" in text:
        raise UsageError(
            f"the pattern {text!r} contains a '$', which is allowed only in --ns-from and --ns-to"
        )
    return _compiled(text)[0]


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    matcher: re.Pattern[str]
    replaced: Callable[[re.Match[str]], str]


class Renaming:
    """Rules for new names of namespaces.

    Args:
        sources: the patterns of full names.
        targets: the new full name for each of them.

    Raises:
        UsageError: the numbers of both differ, or a new name does not fit its pattern.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        if len(sources) != len(targets):
            raise UsageError(
                f"each --ns-from needs one --ns-to: there are {len(sources)} and {len(targets)}"
            )
        self._rules = [_rule(*pair) for pair in zip(sources, targets, strict=True)]

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def sources(self) -> tuple[str, ...]:
        """The patterns of the old names."""
        return tuple(rule.text for rule in self._rules)

    def renamed(self, namespace: Namespace) -> Namespace | None:
        """Return the new name; None if no rule matches.

        Raises:
            UsageError: the new name is not a namespace.
        """
        for rule in reversed(self._rules):
            if found := rule.matcher.fullmatch(str(namespace)):
                return split_namespace(rule.replaced(found))
        return None

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the patterns that match none of these names."""
        names = list(names)
        return [rule.text for rule in self._rules if not any(map(rule.matcher.fullmatch, names))]


def _rule(source: str, target: str) -> _Rule:
    named = "$" in source
    if not named and _stars(source) != _stars(target):
        raise UsageError(
            f"--ns-from {source!r} and --ns-to {target!r} do not have the same number of asterisks"
        )
    matcher, variables = _compiled(source, named=named)
    if len(set(variables)) != len(variables):
        raise UsageError(f"--ns-from {source!r} names a variable twice: use two names")
    pieces = list(_pieces(target, named=named))
    for is_variable, piece in pieces:
        if is_variable and piece not in variables:
            raise UsageError(
                f"--ns-to {target!r} uses the variable {piece!r}, which is not in --ns-from "
                f"{source!r}"
            )

    def replaced(found: re.Match[str]) -> str:
        return "".join(
            found[variables.index(piece) + 1] if is_variable else piece
            for is_variable, piece in pieces
        )

    return _Rule(source, matcher, replaced)


def _compiled(text: str, *, named: bool = False) -> tuple[re.Pattern[str], list[str]]:
    """Return the regular expression of a pattern, and the variables of its groups in order."""
    pieces = list(_pieces(text, named=named))
    expression = "".join("(.*?)" if variable else re.escape(piece) for variable, piece in pieces)
    return re.compile(expression, re.DOTALL), [piece for variable, piece in pieces if variable]


def _pieces(text: str, *, named: bool) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a pattern: True and the name of a variable, or False and plain text.

    In a pattern without named variables, asterisks are variables named by their number.
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
