from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastdump.config import SOURCE, TARGET, Origin, Settings, described
from fastdump.errors import UsageError

SECRET = "canary-5ecret"


def test_a_uri_brings_its_database_and_hides_its_password() -> None:
    settings = Settings({"uri": f"mongodb://u:{SECRET}@h1:1,h2:2/shop?tls=true"}, {})
    connection = settings.connection(SOURCE)
    assert connection.shown == "h1:1,h2:2"
    assert SECRET in connection.uri
    assert SECRET not in repr(connection)
    assert settings.database(SOURCE) == "shop"


def test_an_address_with_user_and_password_of_the_environment(tmp_path: Path) -> None:
    environment = {
        "KOMODO_DATABASE_ADDRESS": "mongo:27017",
        "KOMODO_DATABASE_USERNAME": "admin",
        "KOMODO_DATABASE_PASSWORD": SECRET,
    }
    connection = Settings({}, environment).connection(SOURCE)
    assert connection.uri == "mongodb://mongo:27017"
    assert (connection.username, connection.password) == ("admin", SECRET)
    assert SECRET not in repr(connection)
    assert Settings({}, environment).database(SOURCE) == "komodo"


PREFIXES = [
    (SOURCE, "KOMODO_DATABASE_"),
    (SOURCE, "KOMODO_MONGO_"),
    (TARGET, "KOMODO_CLI_DATABASE_TARGET_"),
    (TARGET, "KOMODO_CLI_DATABASE_COPY_"),
]


@pytest.mark.parametrize(("origin", "prefix"), PREFIXES)
def test_every_name_and_alias_of_the_environment(origin: Origin, prefix: str) -> None:
    environment = {
        f"{prefix}ADDRESS": "mongo:27017",
        f"{prefix}USERNAME": "admin",
        f"{prefix}PASSWORD": SECRET,
        f"{prefix}DB_NAME": "shop",
        f"{prefix}APP_NAME": "me",
    }
    settings = Settings({}, environment)
    connection = settings.connection(origin)
    assert (connection.uri, connection.username) == ("mongodb://mongo:27017", "admin")
    assert (connection.password, connection.app_name) == (SECRET, "me")
    assert settings.database(origin) == "shop"
    with_uri = Settings({}, environment | {f"{prefix}URI": "mongodb://u:p@h/d"})
    assert with_uri.connection(origin).uri == "mongodb://u:p@h/d"
    assert with_uri.connection(origin).username is None


def test_the_newer_name_beats_the_older() -> None:
    environment = {"KOMODO_MONGO_ADDRESS": "old", "KOMODO_DATABASE_ADDRESS": "new"}
    assert Settings({}, environment).connection(SOURCE).shown == "new"


@pytest.mark.parametrize(("origin", "prefix"), PREFIXES)
@pytest.mark.parametrize("name", ["URI", "USERNAME", "PASSWORD"])
def test_the_file_form_of_a_variable_wins(
    tmp_path: Path, origin: Origin, prefix: str, name: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("mongodb://file\n" if name == "URI" else f"{SECRET}\n")
    environment = {
        f"{prefix}ADDRESS": "a",
        f"{prefix}USERNAME": "u",
        f"{prefix}PASSWORD": "p",
        f"{prefix}{name}_FILE": str(file),
    }
    connection = Settings({}, environment).connection(origin)
    found = {
        "URI": connection.uri,
        "USERNAME": connection.username,
        "PASSWORD": connection.password,
    }
    assert found[name] == file.read_text().strip()


def test_flags_beat_the_environment() -> None:
    environment = {
        "KOMODO_DATABASE_URI": "mongodb://env/x",
        "KOMODO_DATABASE_DB_NAME": "env",
        "KOMODO_CLI_BACKUPS_FOLDER": "/env",
        "KOMODO_CLI_MAX_BACKUPS": "3",
        "FASTDUMP_WORKERS": "2",
        "FASTDUMP_LATEST_ONLY": "A, B",
    }
    unset = Settings({}, environment)
    assert unset.connection(SOURCE).shown == "env"
    assert (unset.database(SOURCE), unset.folder, unset.max_backups) == ("env", Path("/env"), 3)
    assert (unset.workers, unset.latest_only) == (2, ("A", "B"))
    flags = {
        "address": "flag:1",
        "db": "flag",
        "folder": "/flag",
        "max-backups": "0",
        "workers": "8",
        "latest-only": "",
    }
    given = Settings(flags, environment)
    assert given.connection(SOURCE).shown == "flag:1"
    assert (given.database(SOURCE), given.folder, given.max_backups) == ("flag", Path("/flag"), 0)
    assert (given.workers, given.latest_only) == (8, ())


def test_defaults() -> None:
    settings = Settings({}, {})
    assert (settings.folder, settings.max_backups) == (Path("/backups"), 14)
    assert settings.compression == ("gzip", 1)
    assert settings.latest_only == ("Stats",)
    assert settings.workers == min(4, len(os.sched_getaffinity(0)))
    assert settings.layout is None


@pytest.mark.parametrize(
    ("flags", "environment", "found"),
    [
        ({"compression": "zstd"}, {}, ("zstd", 1)),
        ({"compression": "zstd:19"}, {"FASTDUMP_LEVEL": "3"}, ("zstd", 19)),
        ({"compression": "gzip:0"}, {}, ("gzip", 0)),
        ({"level": "7"}, {"FASTDUMP_COMPRESSION": "zstd"}, ("zstd", 7)),
        ({"compression": "none", "level": "2"}, {}, ("none", None)),
        ({}, {"FASTDUMP_GZIP": "false"}, ("none", None)),
        ({}, {"FASTDUMP_GZIP": "true", "FASTDUMP_LEVEL": "2"}, ("gzip", 2)),
    ],
)
def test_compression(
    flags: dict[str, str], environment: dict[str, str], found: tuple[str, int | None]
) -> None:
    assert Settings(flags, environment).compression == found


@pytest.mark.parametrize("text", ["lz4", "gzip:4", "zstd:0", "zstd:20", "zstd:x", "none:1", ":3"])
def test_a_compression_that_does_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match="--compression is"):
        _ = Settings({"compression": text}, {}).compression


def test_the_target_is_never_taken_from_the_source() -> None:
    settings = Settings(
        {"uri": "mongodb://source"},
        {"KOMODO_DATABASE_URI": "mongodb://source", "KOMODO_DATABASE_DB_NAME": "source"},
    )
    with pytest.raises(UsageError, match="--target-uri"):
        settings.connection(TARGET)
    target = {"KOMODO_CLI_DATABASE_TARGET_URI": "mongodb://target"}
    assert Settings({}, target).connection(TARGET).shown == "target"
    assert Settings({}, target).database(TARGET) == "komodo"
    named = target | {"KOMODO_CLI_DATABASE_TARGET_DB_NAME": "t"}
    assert Settings({}, named).database(TARGET) == "t"
    with pytest.raises(UsageError, match="KOMODO_DATABASE_URI"):
        Settings({}, target).connection(SOURCE)


def test_the_environments_user_is_not_mixed_with_a_uri() -> None:
    settings = Settings(
        {}, {"KOMODO_DATABASE_URI": "mongodb://h", "KOMODO_DATABASE_USERNAME": "nobody"}
    )
    assert settings.connection(SOURCE).username is None


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "", "1e3", "99999999999999"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="whole number"):
        _ = Settings({"max-backups": text}, {}).max_backups


def test_a_number_that_is_none_names_its_variable() -> None:
    with pytest.raises(UsageError, match="KOMODO_CLI_MAX_BACKUPS is 'many'"):
        _ = Settings({}, {"KOMODO_CLI_MAX_BACKUPS": "many"}).max_backups


def test_contradictions_and_what_is_no_address() -> None:
    with pytest.raises(UsageError, match="leave one out"):
        Settings({"uri": "mongodb://a", "address": "b"}, {}).connection(SOURCE)
    with pytest.raises(UsageError, match="mongodb://host"):
        described("http://somewhere")
    with pytest.raises(UsageError, match="cannot be read"):
        Settings({"address": "a", "password-file": "/nowhere"}, {}).connection(SOURCE)
