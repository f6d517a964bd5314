"""A place for backups that is a link: to a folder, to a file, to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from tests.conftest import Run, Server

pytestmark = pytest.mark.timeout(120)

PLACES = {
    "-f": ["-f"],
    "folder": ["--layout", "mongodump", "-o"],
    "archive": ["--layout", "archive", "-o"],
}


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    insert(server.connection, name, "c", ({"_id": n} for n in range(10)))
    return name


@pytest.mark.parametrize("inner", ["", "inner"])
@pytest.mark.parametrize("place", PLACES)
def test_a_link_to_nothing(
    fastdump: Run, server: Server, database: str, tmp_path: Path, place: str, inner: str
) -> None:
    link, gone = tmp_path / "link", tmp_path / "not mounted" / "b"
    link.symlink_to(gone)
    where = link / inner / "a" if place == "archive" else link / inner
    done = fastdump("backup", "--uri", server.uri, "--db", database, *PLACES[place], where)
    assert done.code == 1
    assert (
        f"{link}, a link to {gone}: it does not exist; check the path, and that the volume is "
        "mounted"
    ) in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("place", PLACES)
def test_a_link_to_a_file(
    fastdump: Run, server: Server, database: str, tmp_path: Path, place: str
) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    file.write_bytes(b"mine")
    link.symlink_to(file)
    where = link / "a" if place == "archive" else link
    done = fastdump("backup", "--uri", server.uri, "--db", database, *PLACES[place], where)
    assert done.code == 1
    assert f"{link}: it is not a folder" in done.err
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("place", PLACES)
def test_a_link_to_a_folder(
    fastdump: Run, server: Server, database: str, tmp_path: Path, place: str
) -> None:
    link, folder = tmp_path / "link", tmp_path / "folder"
    folder.mkdir()
    link.symlink_to(folder)
    where = link / "a" if place == "archive" else link
    done = fastdump("backup", "--uri", server.uri, "--db", database, *PLACES[place], where)
    assert done.code == 0, done.err
    assert link.is_symlink()
    assert list(folder.iterdir())
    name = None if place == "-f" else where
    assert api.verify(folder, name=name).intact
