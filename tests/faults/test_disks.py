"""Disks that are not ext4: what a NAS, SMB, FUSE or a container refuses is said, and not fatal."""

from __future__ import annotations

from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from tests.conftest import Run, Server, listed
from tests.shims import shim

pytestmark = pytest.mark.timeout(120)

LAYOUTS = ["komodo", "komodo-json", "mongodump", "archive"]


def cases(*numbers: str) -> list[tuple[str, str]]:
    """Each layout with the first of the errors, and one layout with the others."""
    first, *others = numbers
    return [*((one, first) for one in LAYOUTS), *((LAYOUTS[0], one) for one in others)]


FSYNC = """
    os.fsync = refusing(
        os.fsync, errno.{}, lambda number: stat.S_ISDIR(os.fstat(number).st_mode) == {}
    )
"""
CHMOD = "    os.chmod = os.fchmod = refusing(os.chmod, errno.{})\n"
FLOCK = "    import fcntl\n    fcntl.flock = refusing(fcntl.flock, errno.{})\n"
SENDFILE = "    os.sendfile = refusing(os.sendfile, errno.{})\n"


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    for collection in ("one", "Stats"):
        insert(server.connection, name, collection, ({"_id": n} for n in range(100)))
    return name


@pytest.fixture(scope="module")
def large(server: Server) -> str:
    """Whose collections have several parts, which are joined."""
    name = server.new_database()
    generate(server.connection, name, 100_000_000)
    return name


def backup(
    fastdump: Run, server: Server, database: str, folder: Path, layout: str, source: str,
    *more: object,
) -> str:  # fmt: skip
    """Make a backup on such a disk, and see that it is whole; returns what was said."""
    arguments = ["backup", "--uri", server.uri, "--db", database, "-f", folder, *more]
    if layout == "archive":
        arguments += ["-o", folder / "archive"]
    variables = shim(folder.parent / "shim", source)
    done = fastdump(*arguments, "--layout", layout, **variables)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    name = folder / "archive" if layout == "archive" else None
    assert api.verify(folder, name=name).intact
    target = server.new_database()
    if layout == "archive" or layout == "mongodump":
        rename = [(f"{database}.*", f"{target}.*")]
        api.restore(
            server.uri, folder=folder, name=name, namespaces=api.NamespaceFilter(rename=rename)
        )
    else:
        api.restore(server.uri, target_db=target, folder=folder)
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    with server.client() as client:
        client.drop_database(target)
    return done.err


@pytest.mark.parametrize(("layout", "number"), cases("EINVAL", "ENOTSUP", "ENOSYS"))
def test_folders_cannot_be_synced(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str, number: str
) -> None:
    said = backup(fastdump, server, database, tmp_path / "b", layout, FSYNC.format(number, True))
    assert said.count(f"{tmp_path / 'b'}: this file system does not sync folders") == 1


def test_files_cannot_be_synced(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    said = backup(
        fastdump, server, database, tmp_path / "b", "komodo", FSYNC.format("EINVAL", False)
    )
    assert said.count(f"{tmp_path / 'b'}: this file system does not sync files") == 1


@pytest.mark.parametrize("is_folder", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_fails_to_sync(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str, is_folder: bool
) -> None:
    """What is lost then is lost: the kernel says so only once."""
    arguments = ["backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "b"]
    if layout == "archive":
        arguments += ["-o", tmp_path / "b" / "archive"]
    variables = shim(tmp_path / "shim", FSYNC.format("EIO", is_folder))
    done = fastdump(*arguments, "--layout", layout, **variables)
    assert done.code == 1
    assert "Input/output error" in done.err
    assert "Traceback" not in done.err
    assert "is complete" not in done.out


@pytest.mark.parametrize(("layout", "number"), cases("EPERM", "ENOTSUP"))
def test_permissions_cannot_be_set(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str, number: str
) -> None:
    said = backup(fastdump, server, database, tmp_path / "b", layout, CHMOD.format(number))
    assert said.count(f"{tmp_path / 'b'}: this file system does not keep permissions") == 1


def test_permissions_are_ignored(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    """As with many mounts of SMB: no error, and other permissions than asked for."""
    source = "    os.chmod = os.fchmod = lambda *arguments, **more: None\n"
    said = backup(fastdump, server, database, tmp_path / "b", "komodo", source, "--mode", "640")
    assert said.count(f"{tmp_path / 'b'}: this file system does not keep permissions") == 1


@pytest.mark.parametrize(("layout", "number"), cases("ENOSYS", "ENOLCK", "EOPNOTSUPP"))
def test_there_are_no_locks(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str, number: str
) -> None:
    said = backup(fastdump, server, database, tmp_path / "b", layout, FLOCK.format(number))
    assert said.count(f"{tmp_path / 'b'}: this file system has no locks") == 1
    assert not [path for path in listed(tmp_path / "b") if path.name.startswith(".")]
    if layout != "archive":
        pruned = fastdump(
            "prune", "-f", tmp_path / "b", "--max-backups", "1", "-y",
            **shim(tmp_path / "shim", FLOCK.format(number)),
        )  # fmt: skip
        assert pruned.code == 0, pruned.err


@pytest.mark.parametrize("layout", LAYOUTS[:3])
def test_the_kernel_does_not_copy(
    fastdump: Run, server: Server, large: str, tmp_path: Path, layout: str
) -> None:
    backup(fastdump, server, large, tmp_path / "b", layout, SENDFILE.format("EINVAL"))


def test_the_kernel_copies_nothing(
    fastdump: Run, server: Server, large: str, tmp_path: Path
) -> None:
    """Without an error: it must not be asked for ever."""
    source = "    os.sendfile = lambda *arguments: 0\n"
    backup(fastdump, server, large, tmp_path / "b", "komodo", source)


def test_the_kernel_copies_a_little(
    fastdump: Run, server: Server, large: str, tmp_path: Path
) -> None:
    """And then refuses: what was copied is not copied again."""
    source = """
        original, calls = os.sendfile, []
        def little(target, source, offset, count):
            calls.append(offset)
            if len(calls) % 3 == 0:
                raise OSError(errno.EINVAL, "refused")
            return original(target, source, offset, min(count, 1000))
        os.sendfile = little
    """
    backup(fastdump, server, large, tmp_path / "b", "komodo", source)


def test_a_full_disk_while_copying(
    fastdump: Run, server: Server, large: str, tmp_path: Path
) -> None:
    variables = shim(tmp_path / "shim", SENDFILE.format("ENOSPC"))
    done = fastdump("backup", "--uri", server.uri, "--db", large, "-f", tmp_path / "b", **variables)
    assert done.code == 1
    assert "there is no space left" in done.err
    assert listed(tmp_path / "b") == []
