from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shapes import HURTFUL_NAMES
from fastdump.layouts.file_names import MAX_STEM_BYTES, collection_name, file_names, is_cut

names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=240
)


def check(collections: list[str]) -> None:
    stems = file_names(collections)
    folded = {unicodedata.normalize("NFC", stem).casefold() for stem in stems.values()}
    assert len(folded) == len(collections), "two collections would share a file"
    for name, stem in stems.items():
        assert "/" not in stem
        assert "\0" not in stem
        assert stem.isprintable()
        assert not stem.startswith((".", "-", " "))
        assert not stem.endswith((".", " "))
        assert len(stem.encode()) <= MAX_STEM_BYTES
        assert is_cut(stem) or collection_name(stem) == name


@given(st.lists(names, unique=True, max_size=6))
def test_any_names(collections: list[str]) -> None:
    check(collections)


@given(st.lists(st.text("aAäÄßsSéÉe\u0301", min_size=1, max_size=3), unique=True, max_size=12))
def test_names_that_differ_only_in_case_or_composition(collections: list[str]) -> None:
    check(collections)


def test_the_names_that_hurt() -> None:
    check(list(HURTFUL_NAMES))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Stats", "Stats"),
        ("日本", "日本"),
        ("a/../../b", "a%2F..%2F..%2Fb"),
        ("%2F", "%252F"),
        ("-rf", "%2Drf"),
        ("x.", "x%2E"),
        ("..", "%2E%2E"),
        ("line\nbreak", "line%0Abreak"),
    ],
)
def test_what_a_name_looks_like(name: str, stem: str) -> None:
    assert file_names([name]) == {name: stem}


def test_only_the_collision_is_encoded() -> None:
    assert file_names(["Action", "action", "Stats"]) == {
        "Action": "%41ction",
        "action": "action",
        "Stats": "Stats",
    }


def test_a_long_name_is_cut_and_says_so() -> None:
    (stem,) = file_names(["ü" * 120]).values()
    assert is_cut(stem)
    assert not is_cut("Stats")
