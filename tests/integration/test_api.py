"""The Python API, as a program without any precautions calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastdump
from fastdump.demo.komodo import generate
from fastdump.model import ClusterTime
from tests.conftest import COMMAND_SECONDS, Server, environment


def test_a_script_without_a_main_guard(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 100_000_000)
    script = tmp_path / "script.py"
    script.write_text(
        "import fastdump\n"
        "print('once')\n"
        f"uri, source, target = {server.uri!r}, {database!r}, {target!r}\n"
        "backup = fastdump.backup(uri, db=source, folder='b', workers=2)\n"
        "restored = fastdump.restore(uri, target_db=target, folder='b', workers=2)\n"
        "assert backup.workers == restored.workers == 2\n"
        "assert backup.documents == restored.inserted\n"
        "assert fastdump.verify('b', workers=2).intact\n"
        "assert [found.name for found in fastdump.list_backups('b')] == [backup.name]\n"
        "assert fastdump.prune('b', max_backups=1).removed == ()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "once\n"


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(fastdump.UsageError, match="must be"):
        fastdump.backup("mongodb://h", folder=tmp_path, workers=0)
    with pytest.raises(fastdump.UsageError, match="must be"):
        fastdump.backup(
            "mongodb://h",
            folder=tmp_path,
            writing=fastdump.WriteOptions(compression=fastdump.Compression("gzip", 4)),
        )
    for wrong in (
        {"max_backups": -1},
        {"workers": 257},
        {"writing": fastdump.WriteOptions(mode=0o1777)},
        {"writing": fastdump.WriteOptions(mode=0o400)},
        {"reading": fastdump.ReadOptions(max_rate=0)},
        {"reading": fastdump.ReadOptions(max_rate=-1)},
        {"reading": fastdump.ReadOptions(max_lock_seconds=-1)},
        {"reading": fastdump.ReadOptions(consistency="all")},
    ):
        with pytest.raises(fastdump.UsageError, match="must be"):
            fastdump.backup("mongodb://h", folder=tmp_path, **wrong)
    for options in (
        fastdump.LoadOptions(preserve_uuid=True),
        fastdump.LoadOptions(oplog_limit=ClusterTime(1, 1)),
    ):
        with pytest.raises(fastdump.UsageError, match="needs"):
            fastdump.restore("mongodb://h", folder=tmp_path, options=options)
        with pytest.raises(fastdump.UsageError, match="needs"):
            fastdump.copy("mongodb://h", "mongodb://i", options=options)
    with pytest.raises(fastdump.UsageError, match="mongodb://"):
        fastdump.restore("somewhere", folder=tmp_path)
    with pytest.raises(fastdump.StorageError):
        fastdump.list_backups(tmp_path / "absent")


def test_pruning_to_fewer_than_none(tmp_path: Path) -> None:
    (tmp_path / "2020-01-01_00-00-00").mkdir()
    with pytest.raises(fastdump.UsageError, match="max_backups is -1, but must be at least 0"):
        fastdump.prune(tmp_path, max_backups=-1)
    assert (tmp_path / "2020-01-01_00-00-00").exists()
