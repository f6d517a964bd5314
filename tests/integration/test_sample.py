"""Reading a part of a backup finds the damage in that part, and never one that is not there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import fastdump as package
from benchmarks.shapes import insert
from fastdump.layouts import segments
from fastdump.repository import reading
from tests.conftest import Run, Server

pytestmark = pytest.mark.timeout(180)

DOCUMENTS = 9000
TRIES = 300


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 500_000)
    monkeypatch.setattr(reading, "SEGMENT_BYTES", 500_000)


@pytest.fixture(params=["komodo", "repository"])
def folder(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Path:
    database = server.new_database()
    content = random.Random(7)  # where pieces end depends on it; by chance there could be just one
    documents = ({"_id": n, "x": content.randbytes(900)} for n in range(DOCUMENTS))
    insert(server.connection, database, "c", documents)
    insert(server.connection, database, "few", [{"_id": 1}])
    how = package.WriteOptions(layout=request.param)
    package.backup(server.uri, db=database, folder=tmp_path / "b", writing=how)
    return tmp_path / "b"


def damaged(folder: Path) -> None:
    """Change a byte in the middle of the largest file."""
    path = max((one for one in folder.rglob("*") if one.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_part_is_read_each_time_another(folder: Path) -> None:
    reports = [package.verify(folder, sample=0.1) for _ in range(20)]
    assert all(one.intact for one in reports)
    read = [one.documents for one in reports]
    assert all(0 < number < DOCUMENTS for number in read)
    assert package.verify(folder).documents == DOCUMENTS + 1
    damaged(folder)
    found = [package.verify(folder, sample=0.1).intact for _ in range(TRIES)]
    assert not all(found), "no part had the damage"
    assert any(found), "each part had the damage"


def test_a_missing_file_is_always_found(folder: Path) -> None:
    path = max((one for one in folder.rglob("*") if one.is_file()), key=lambda p: p.stat().st_size)
    path.unlink()
    assert not package.verify(folder, sample=0.001).intact


def test_the_command(fastdump: Run, folder: Path) -> None:
    done = fastdump("verify", "-f", folder, "--sample", "30%")
    assert done.code == 0, done.err
    assert "the part of backup" in done.out
    for wrong in ("0%", "101%", "5", "x"):
        refused = fastdump("verify", "-f", folder, "--sample", wrong)
        assert refused.code == 2
        assert f"--sample is '{wrong}', but must be a percentage such as 5%" in refused.err
    for other in ("--unique", "--against"):
        assert fastdump("verify", "-f", folder, "--sample", "5%", other).code == 2


def test_an_archive_cannot_be_read_in_parts(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    out = tmp_path / "archive"
    how = package.WriteOptions(layout="archive", out=out)
    package.backup(server.uri, db=database, writing=how)
    with pytest.raises(package.UsageError, match="an archive needs all documents"):
        package.verify(name=out, sample=0.5)
