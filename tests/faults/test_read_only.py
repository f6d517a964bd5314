"""A container that may write nowhere but into its volumes: `read_only: true` of Compose."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import fastdump as api
from fastdump.codec.bson import Batch
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine.load.temporary_oplog import TemporaryOplog
from fastdump.errors import StorageError
from tests.conftest import COMMAND_SECONDS, Outcome, Run, Server, command, environment

pytestmark = pytest.mark.timeout(120)

LAYOUTS = ["komodo", "komodo-json", "mongodump", "archive"]
SHARED_MEMORY = Path("/dev/shm")


def read_only(*arguments: object, folder: Path, shared_memory: bool = False) -> Outcome:
    """Run the command line where nothing but that folder can be written.

    Args:
        arguments: of the command.
        folder: the volume.
        shared_memory: whether /dev/shm can be written too, as it can by default.
    """
    places = ["/"] if shared_memory else ["/", "/dev/shm"]
    steps = [
        "set -e",
        f"mount --bind {shlex.quote(str(folder))} {shlex.quote(str(folder))}",
        "mountpoint -q /dev/shm || mount -t tmpfs none /dev/shm",
        *(f"mount -o remount,bind,ro {place}" for place in places),
        *(f"! mountpoint -q {place} || mount -o remount,bind,ro {place}" for place in TEMPORARY),
        f"exec {shlex.join(command(*arguments))}",
    ]
    done = subprocess.run(
        [*ISOLATED, "/bin/sh", "-c", "\n".join(steps)],
        env=environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


TEMPORARY = ["/tmp", "/var/tmp", "/usr/tmp"]
ISOLATED = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module", autouse=True)
def _may_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("volume")
    if read_only("--version", folder=folder).code:
        pytest.skip("mounts cannot be changed here")


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    """Large enough for several processes."""
    name = server.new_database()
    generate(server.connection, name, 80_000_000)
    return name


def left_behind() -> set[Path]:
    return {path for path in SHARED_MEMORY.iterdir() if path.name.startswith("pymp-")}


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_folder_of_backups_is_needed(
    server: Server, database: str, tmp_path: Path, layout: str, shared_memory: bool
) -> None:
    before = left_behind()

    def run(*arguments: object) -> Outcome:
        done = read_only(*arguments, folder=tmp_path, shared_memory=shared_memory)
        assert done.code == 0, done.err
        # An archive is read by one process in any case.
        is_alone = not shared_memory and (layout != "archive" or arguments[0] == "backup")
        said = done.err.count("one process does all the work, because /dev/shm cannot be written")
        assert said == is_alone, done.err
        return done

    out = ["-o", tmp_path / "archive"] if layout == "archive" else ["-f", tmp_path]
    which = [tmp_path / "archive"] if layout == "archive" else ["-f", tmp_path]
    run("backup", "--uri", server.uri, "--db", database, "--layout", layout, *out)
    run("verify", *which)
    target = server.new_database()
    into = ("--ns-from", f"{database}.*", "--ns-to", f"{target}.*")
    run("restore", "--target-uri", server.uri, "-y", *into, *which)
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    with server.client() as client:
        client.drop_database(target)
    assert left_behind() == before


def test_what_needs_a_folder_for_temporary_files_says_so(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.backup(server.uri, db=database, folder=tmp_path)
    unique = read_only("verify", "-f", tmp_path, "--unique", folder=tmp_path)
    locked = read_only(
        "backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "--consistency", "lock",
        folder=tmp_path,
    )  # fmt: skip
    for done in (unique, locked):
        assert done.code == 1, done.err
        assert "Traceback" not in done.err
        assert "temporary files can be written: set TMPDIR" in done.err
    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path / 'gone'}")
    with TemporaryOplog() as spool, pytest.raises(StorageError, match="gone"):
        spool.keep(Batch(bytes(5), 1))


def test_no_folder_is_left_behind_elsewhere(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    """The driver would make the end of the interpreter wait, which would remove it."""
    before = left_behind()
    with TemporaryDirectory() as place:
        deep = Path(place) / ("long" * 20)
        deep.mkdir()
        arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "b")
        for folder in (Path(place), deep):
            done = fastdump(*arguments, TMPDIR=str(folder))
            assert done.code == 0
            assert "one process does all the work" not in done.err
        assert list(Path(place).rglob("*")) == [deep]
    assert left_behind() == before
