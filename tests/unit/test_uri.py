"""Warnings about a connection string are told apart from any others."""

import warnings

import pytest
from pymongo.uri_parser import parse_uri

from fastdump.mongo import uri


def test_a_warning_of_something_else_is_not_about_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The garbage collector may find an unclosed socket at any moment, and warns of it."""

    def parse_while_garbage_is_collected(text: str, warn: bool) -> object:
        warnings.warn("unclosed socket", ResourceWarning, stacklevel=1)
        return parse_uri(text, warn=warn)

    monkeypatch.setattr(uri, "parse_uri", parse_while_garbage_is_collected)
    assert not list(uri.left_out("mongodb://localhost/?directConnection=true"))
    assert list(uri.left_out("mongodb://localhost/?directConnection=maybe"))
