"""Namespace patterns and renames, with the cases of mongorestore's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.errors import UsageError
from fastdump.model import Namespace
from fastdump.patterns import Patterns, Renaming, escaped, split_namespace

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: "$" not in name)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("db.c", "db.c", True),
        ("db.c", "db.cd", False),
        ("db.*", "db.c.d", True),
        ("*.c", "db.x.c", True),
        ("d*.c*", "db.cx", True),
        (r"db.\*", "db.*", True),
        (r"db.\*", "db.c", False),
        (r"db.\\", "db.\\", True),
        ("db.c+", "db.cc", False),
        ("db.*", "db.line\nbreak", True),
    ],
)
def test_what_matches(pattern: str, name: str, *, matches: bool) -> None:
    assert Patterns([pattern]).match(name) is matches


@given(NAMES, NAMES)
def test_an_escaped_name_matches_itself_alone(name: str, other: str) -> None:
    pattern = Patterns([escaped(name)])
    assert pattern.match(name)
    assert pattern.match(other) is (name == other)


def test_what_matches_nothing_is_known() -> None:
    assert Patterns(["a.*", "b.*"]).unused(["a.x", "c.y"]) == ["b.*"]
    assert not Patterns([])


@pytest.mark.parametrize(
    ("rules", "name", "renamed"),
    [
        ([("a.b", "c.d")], "a.b", "c.d"),
        ([("a.b", "c.d")], "a.x", None),
        ([("a.*", "b.*")], "a.x.y", "b.x.y"),
        ([("*.user*", "*.member*")], "db.users", "db.members"),
        ([("$d$.$c$", "all.$d$_$c$")], "db.users", "all.db_users"),
        ([("$c$_$n$.x", "$n$.$c$")], "shop_7.x", "7.shop"),
        ([("a.*", "b.*"), ("a.x", "c.z")], "a.x", "c.z"),
        ([("a.x", "c.z"), ("a.*", "b.*")], "a.x", "b.x"),
        ([(r"a.\*", r"b.\*")], "a.*", "b.*"),
    ],
)
def test_renaming(rules: list[tuple[str, str]], name: str, renamed: str | None) -> None:
    renaming = Renaming([old for old, _new in rules], [new for _old, new in rules])
    found = renaming.renamed(split_namespace(name))
    assert (None if found is None else str(found)) == renamed


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (["a.*"], []),
        (["a.*"], ["b.c"]),
        (["a.$x$"], ["b.$y$"]),
        (["a.$x"], ["b.$x"]),
        (["$x$.$x$"], ["b.$x$"]),
        (["a.b"], ["b.$x$"]),
    ],
)
def test_what_does_not_fit_together(sources: list[str], targets: list[str]) -> None:
    with pytest.raises(UsageError):
        Renaming(sources, targets)


def test_a_new_name_that_is_no_namespace() -> None:
    with pytest.raises(UsageError, match="is not a namespace"):
        Renaming(["a.*"], ["*"]).renamed(Namespace("a", "b"))


def test_no_dollar_where_nothing_is_renamed() -> None:
    with pytest.raises(UsageError, match="'\\$'"):
        Patterns(["a.$b$"])


@given(st.lists(st.tuples(st.text(), st.text()), max_size=3), st.text(), st.text())
def test_any_text_is_a_pattern_or_refused(
    rules: list[tuple[str, str]], database: str, name: str
) -> None:
    try:
        renaming = Renaming([old for old, _new in rules], [new for _old, new in rules])
        found = renaming.renamed(Namespace(database, name))
    except UsageError:
        return
    assert found is None or (found.database and found.collection)
