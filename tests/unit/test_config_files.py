"""Komodo's configuration files: where they are found, how they are merged, what of them counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fastdump.config import SOURCE, TARGET, Files, Settings
from fastdump.errors import UsageError

SECRET = "canary-5ecret"

# The keys of the file that Komodo ships, with values of our own.
KOMODO_CLI = f"""
default_profile = "Default"
max_backups = 7
table_borders = "Horizontal"

[[profile]]
name = "Default"
aliases = ["d"]
host = "https://komodo.example.com"
key = "K-..."
backups_folder = "/of/default"
max_backups = 14
database.uri = ""
database.address = "mongo:27017"
database.username = "admin"
database.password = "{SECRET}"
database.db_name = "komodo"
database.app_name = "komodo_cli"
database_target.uri = "mongodb://target:1"
database_target.db_name = "restored"

[[profile]]
name = "Alt"
alias = "a"
mongo.address = "alt:27017"
database_copy.address = "copy:27017"
"""

CORE = """
title = "Komodo"
host = "https://komodo.example.com"
jwt_secret = "s"
backups_folder = "/of/core"
[mongo]
address = "core:27017"
[logging]
level = "info"
"""


def settings(folder: Path, profile: str | None = None, **environment: str) -> Settings:
    variables = {"HOME": "/nowhere"} | environment
    return Settings({}, variables, Files.read([str(folder)], profile, variables))


def test_the_default_profile(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text(KOMODO_CLI)
    found = settings(tmp_path)
    assert (found.folder, found.max_backups) == (Path("/of/default"), 14)
    source = found.connection(SOURCE)
    assert (source.uri, source.username, source.password, source.app_name) == (
        "mongodb://mongo:27017",
        "admin",
        SECRET,
        "komodo_cli",
    )
    assert found.connection(TARGET).shown == "target:1"
    assert (found.database(SOURCE), found.database(TARGET)) == ("komodo", "restored")


@pytest.mark.parametrize("profile", ["Alt", "a"])
def test_another_profile_by_name_or_alias_over_the_top_level(tmp_path: Path, profile: str) -> None:
    (tmp_path / "komodo.cli.toml").write_text(KOMODO_CLI)
    for found in (
        settings(tmp_path, profile),
        settings(tmp_path, KOMODO_CLI_DEFAULT_PROFILE=profile),
    ):
        assert (found.folder, found.max_backups) == (Path("/backups"), 7)
        assert found.connection(SOURCE).shown == "alt:27017"
        assert found.connection(TARGET).shown == "copy:27017"


def test_a_profile_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text(KOMODO_CLI)
    with pytest.raises(UsageError, match="'x': there are Default, Alt"):
        settings(tmp_path, "x")
    with pytest.raises(UsageError, match="there is none in any file"):
        Files.read([], "x", {"HOME": str(tmp_path / "empty"), "KOMODO_CLI_CONFIG_PATHS": "/no"})


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    content = {"max_backups": 3, "database": {"address": "h:1", "db_name": "d"}, "other": [1]}
    dumps = json.dumps if suffix == ".json" else yaml.safe_dump
    (tmp_path / f"my.komodo.cli{suffix}").write_text(dumps(content))
    found = settings(tmp_path)
    assert (found.max_backups, found.database(SOURCE)) == (3, "d")
    assert found.connection(SOURCE).shown == "h:1"


def test_a_file_of_core_counts_less_than_one_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "core.config.toml").write_text(CORE)
    assert settings(tmp_path).folder == Path("/of/core")
    assert settings(tmp_path).connection(SOURCE).shown == "core:27017"
    (tmp_path / "a.komodo.cli.toml").write_text('backups_folder = "/of/cli"')
    assert settings(tmp_path).folder == Path("/of/cli")
    assert settings(tmp_path).connection(SOURCE).shown == "core:27017"


def test_the_keywords_of_komodos_container(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CORE)
    assert settings(tmp_path).folder == Path("/backups")
    keywords = "*config.*,*komodo.cli*.*"
    assert settings(tmp_path, KOMODO_CLI_CONFIG_KEYWORDS=keywords).folder == Path("/of/core")


def test_where_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here, named = tmp_path / "home", tmp_path / "here", tmp_path / "named.toml"
    for folder in (home / ".config/komodo", here):
        folder.mkdir(parents=True)
    (home / ".config/komodo/komodo.cli.toml").write_text(
        'backups_folder = "/home"\nmax_backups = 1'
    )
    monkeypatch.chdir(here)
    variables = {"HOME": str(home)}

    def found(paths: list[str]) -> tuple[str, int]:
        one = Settings({}, variables, Files.read(paths, None, variables))
        return str(one.folder), one.max_backups

    assert found([]) == ("/home", 1)
    (here / "komodo.cli.toml").write_text('backups_folder = "/here"')
    assert found([]) == ("/here", 1)
    named.write_text("max_backups = 2")
    assert found([str(named)]) == ("/backups", 2)
    assert found([str(here), str(named)]) == ("/here", 2)
    variables["KOMODO_CLI_CONFIG_PATHS"] = f"/not/there,{named}"
    assert found([]) == ("/backups", 2)


def test_flags_beat_the_environment_that_beats_files(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text('backups_folder = "/file"\n[fastdump]\nworkers = 3')
    variables = {"KOMODO_CLI_BACKUPS_FOLDER": "/environment", "FASTDUMP_WORKERS": "2"}
    files = Files.read([str(tmp_path)], None, {})
    assert Settings({}, {}, files).folder == Path("/file")
    assert Settings({}, {}, files).workers == 3
    assert Settings({}, variables, files).folder == Path("/environment")
    assert Settings({}, variables, files).workers == 2
    assert Settings({"folder": "/flag"}, variables, files).folder == Path("/flag")


def test_variables_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text(
        'backups_folder = "${WHERE}/b${NOTHING}"\n[database]\naddress = "$(hostname)"'
    )
    found = settings(tmp_path, WHERE="/x")
    assert found.folder == Path("/x/b")
    assert found.connection(SOURCE).shown == "$(hostname)"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("komodo.cli.toml", f'password = "{SECRET}', "komodo.cli.toml cannot be read"),
        ("komodo.cli.yaml", f"password: {SECRET}: x\n- {SECRET}", "at line"),
        ("komodo.cli.json", f'{{"password": "{SECRET}",}}', "line 1"),
        ("komodo.cli.json", "[1]", "must contain a table"),
        ("komodo.cli.toml", "backups_folder = [1]", "backups_folder in .* must be text"),
        ("komodo.cli.toml", "max_backups = true", "max_backups in .* must be text"),
        ("komodo.cli.toml", "max_backups = -1", "max_backups in .* is '-1'"),
        ("komodo.cli.toml", 'max_backups = "many"', "whole number"),
    ],
)
def test_a_broken_file_is_named_and_not_quoted(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said) as raised:
        _ = settings(tmp_path).max_backups, settings(tmp_path).folder
    assert SECRET not in str(raised.value)


def test_a_file_that_was_named_and_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Files.read([str(tmp_path / "x.toml")], None, {})
    (tmp_path / "x.ini").write_text("")
    with pytest.raises(UsageError, match="must end with one of"):
        Files.read([str(tmp_path / "x.ini")], None, {})


def test_what_is_in_force_is_shown_without_passwords(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text(KOMODO_CLI)
    variables = {"KOMODO_CLI_DATABASE_TARGET_URI": f"mongodb://me:{SECRET}@t"}
    files = Files.read([str(tmp_path)], None, variables)
    shown = {one.name: one for one in Settings({"folder": "/flag"}, variables, files).shown()}
    assert SECRET not in repr(shown)
    assert shown["folder"][1:] == ("/flag", "--folder")
    assert shown["target uri"][1:] == (
        "mongodb://me:***@t",
        "KOMODO_CLI_DATABASE_TARGET_URI",
    )
    assert shown["source address"].value == "mongo:27017"
    assert "profile Default" in shown["source address"].origin
    assert shown["source password"].value == "***"
    assert shown["level"][1:] == ("1", "default")
    assert shown["target db name"].value == "restored"
    with_database = {"KOMODO_DATABASE_URI": "mongodb://h/shop"}
    named = {one.name: one for one in Settings({}, with_database).shown()}
    assert named["source db name"][1:] == ("shop", "KOMODO_DATABASE_URI")
    assert named["target db name"][1:] == ("komodo", "default")


def test_what_a_mac_leaves_beside_a_file_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "komodo.cli.toml").write_text('backups_folder = "/ours"\n')
    (tmp_path / "._komodo.cli.toml").write_bytes(b"\x00\x05\x16\x07")
    assert str(settings(tmp_path).folder) == "/ours"
