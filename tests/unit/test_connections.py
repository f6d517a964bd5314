"""Connection strings and addresses: what they say, and that no part of a password is shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastdump.config import SOURCE, TARGET, Files, Origin, Settings, database_of, described, hidden
from fastdump.errors import UsageError
from fastdump.mongo.client import connect, uri_notes

PARTS = ("canary", "5ecret", "4711")
"""What passwords are made of, with other characters between."""

SPECIAL = st.sampled_from(
    ["/", "@", ":", "?", "#", "%", "%2", "%zz", "[", "]", "&", ";", "=", "+", ","]
)
URIS = st.sampled_from(["%s@host:27017/db", "%s@host/?appName=a@b", "%s@a:1,b:2", "%s@[::1]:1/db"])


def everything_shown(uri: str) -> str:
    """Return all that any output may hold of a connection string."""
    seen = []
    settings = Settings({"uri": uri}, {})
    for show in (
        lambda: repr(described(uri)),
        lambda: hidden(uri),
        lambda: database_of(uri),
        lambda: [str(one) for one in settings.shown()],
        lambda: settings.connection(SOURCE).shown,
        lambda: uri_notes(described(uri)),
        lambda: connect(described(uri)).close(),
    ):
        try:
            seen.append(show())
        except UsageError as error:
            seen.append(str(error))
    return str(seen)


@given(
    st.permutations(PARTS), SPECIAL, SPECIAL, URIS, st.sampled_from(["us", "u@s", "u/s", "4711"])
)
@example(PARTS, "/", "", "%s@host/db", "us")
@example(PARTS, "@", "/", "%s@host/db", "us")
@example(("4711", "canary", "5ecret"), "?", "@", "%s@host/db", "us")
@example(("4711", "canary", "5ecret"), "?", "=", "%s@host/db", "us")
def test_no_part_of_a_password_is_shown(
    parts: list[str], one: str, other: str, uri: str, user: str
) -> None:
    password = one.join(parts[:2]) + other + parts[2]
    shown = everything_shown(f"mongodb://{uri % f'{user}:{password}'}")
    assert not [part for part in parts if part in shown.replace("appName", "") and part != user]


@pytest.mark.parametrize(
    "password", ["a/b", "a@b", "a:b", "a?b", "a%b", "a%2", "a%zz", "1/b", "1?b@"]
)
def test_a_raw_password_that_moves_borders_is_refused(password: str) -> None:
    for text in (f"u:{password}@host/db", f"{password}@host/db?tls=true", f"u:x{password}@h:1,i:2"):
        if ":" in password and not text.startswith("u"):
            continue  # that is a user and a password
        with pytest.raises(UsageError, match="must be percent-encoded"):
            described(f"mongodb://{text}")
    found = described(f"mongodb://u:{quote(password, safe='')}@host/db")
    assert (found.shown, database_of(found.uri)) == ("host", "db")
    connect(found).close()


@pytest.mark.parametrize("uri", ["mongodb://", "mongodb:///db", "mongodb://h:x", "mongodb://h:1,"])
def test_hosts_that_are_none(uri: str) -> None:
    with pytest.raises(UsageError, match="must look like mongodb://host:port/database"):
        described(uri)


def test_an_at_in_an_option() -> None:
    uri = "mongodb://h/db?appName=me@home&authMechanismProperties=SERVICE_REALM:a@b"
    assert (described(uri).shown, database_of(uri)) == ("h", "db")


def test_secrets_among_the_options_are_hidden() -> None:
    options = "tlsCertificateKeyFilePassword=canary&tls=true&authMechanismProperties=AWS_X:canary"
    found = hidden(f"mongodb://u:canary@h/db?{options}")
    assert found == (
        "mongodb://u:***@h/db?tlsCertificateKeyFilePassword=***&tls=true&authMechanismProperties=***"
    )


def test_an_address_that_holds_a_password() -> None:
    settings = Settings({"address": "u:canary@h:1"}, {})
    assert "canary" not in str(list(settings.shown()))
    assert settings.connection(SOURCE).shown == "h:1"
    settings = Settings({"address": "u:cana/ry@h:1"}, {})
    for show in (lambda: list(settings.shown()), lambda: settings.connection(SOURCE)):
        with pytest.raises(UsageError, match=r"^--address: .* must be percent-encoded") as raised:
            show()
        assert "cana" not in str(raised.value)


ADDRESSES = [
    ("host", "mongodb://host", "host"),
    ("a:1,b:2", "mongodb://a:1,b:2", "a:1,b:2"),
    ("/tmp/mongodb-27017.sock", "mongodb://%2Ftmp%2Fmongodb-27017.sock", "/tmp/mongodb-27017.sock"),
    ("::1", "mongodb://[::1]", "[::1]"),
    ("[::1]:27017", "mongodb://[::1]:27017", "[::1]:27017"),
    ("fe80::1%eth0", "mongodb://[fe80::1%25eth0]", "[fe80::1%eth0]"),
    ("::1,[::2]:5,c", "mongodb://[::1],[::2]:5,c", "[::1],[::2]:5,c"),
]


@pytest.mark.parametrize("origin", [SOURCE, TARGET])
@pytest.mark.parametrize(("address", "uri", "shown"), ADDRESSES)
def test_addresses(tmp_path: Path, origin: Origin, address: str, uri: str, shown: str) -> None:
    """As an option, in the environment, and in a file."""
    (tmp_path / "komodo.cli.toml").write_text(f'[{origin.tables[0]}]\naddress = "{address}"\n')
    for settings in (
        Settings({f"{origin.flag}address": address}, {}),
        Settings({}, {f"{origin.variable}ADDRESS": address}),
        Settings({}, {}, Files.read([str(tmp_path)], None)),
    ):
        connection = settings.connection(origin)
        assert (connection.uri, connection.shown) == (uri, shown)
        connect(connection).close()
        assert settings.database(origin) == "komodo"
        assert address in str(list(settings.shown()))
