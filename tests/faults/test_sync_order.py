"""Nothing gets its name before it is on the disk: the calls of real backups, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastdump.demo.komodo import generate
from tests.conftest import Run, Server
from tests.shims import shim

pytestmark = pytest.mark.timeout(120)

RECORDER = """
    import json

    def stamp(path):
        found = os.lstat(path)
        return [found.st_ino, found.st_size, found.st_mtime_ns]

    def inside(path):
        yield os.fspath(path)
        for folder, folders, files in os.walk(path):
            yield from (os.path.join(folder, name) for name in folders + files)

    def named(path, dir_fd=None):
        folder = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        return os.path.join(folder, os.fspath(path))

    def record(call, path, **more):
        line = json.dumps({"call": call, "path": os.fspath(path), **more}) + "\\n"
        descriptor = os.open("LOG", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def recorded(name, original):
        def call(path, *arguments, **more):
            whole = named(path, more.get("dir_fd"))
            if name == "rename":
                stamps = {one: stamp(one) for one in inside(path)}
                original(path, *arguments, **more)
                record(name, whole, to=named(arguments[0]), stamps=stamps)
                return
            if name == "remove":
                record(name, whole)
            original(path, *arguments, **more)
            if name == "make":
                record(name, whole)
        return call

    def synced(original):
        def call(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            # What is changed while it is synced may not be on the disk.
            before = stamp(path)
            original(descriptor)
            record("sync", path, stamp=before)
        return call

    os.fsync = synced(os.fsync)
    os.rename, os.replace = recorded("rename", os.rename), recorded("rename", os.replace)
    os.mkdir = recorded("make", os.mkdir)
    os.unlink, os.rmdir = recorded("remove", os.unlink), recorded("remove", os.rmdir)
    os.supports_dir_fd.update({os.mkdir, os.unlink, os.rmdir})
"""


@dataclass(frozen=True)
class Call:
    call: str
    path: str
    to: str = ""
    stamp: tuple[int, ...] = ()
    stamps: tuple[tuple[str, tuple[int, ...]], ...] = ()


def calls(log: Path) -> Iterator[Call]:
    for line in log.read_text().splitlines():
        found = json.loads(line)
        stamps = tuple((path, tuple(one)) for path, one in found.get("stamps", {}).items())
        yield Call(
            found["call"], found["path"], found.get("to", ""), tuple(found.get("stamp", ())), stamps
        )


def complaints(found: list[Call], root: Path) -> Iterator[str]:
    """What got a name in the folder before it was on the disk, or whose name was not synced."""
    synced: dict[int, tuple[int, ...]] = {}
    unsynced: dict[str, str] = {}
    """By folders, what is new in them."""
    for one in found:
        if one.call == "sync":
            synced[one.stamp[0]] = one.stamp
            unsynced.pop(one.path, None)
        elif one.call == "make" and root.is_relative_to(one.path):
            unsynced[str(Path(one.path).parent)] = one.path
        elif one.call == "rename" and Path(one.to).parent == root:
            yield from (
                f"{path} is renamed to {one.to} before it is synced"
                for path, stamp in one.stamps
                if synced.get(stamp[0]) != stamp and not one.to.endswith(".removed")
            )
            if str(root) in unsynced:
                yield f"{unsynced[str(root)]} is followed by {one.to} and not synced"
            unsynced[str(root)] = one.to
        elif one.call == "remove" and Path(one.path).is_relative_to(unsynced.get(str(root), "/-")):
            yield f"{one.path} is removed before its folder's new name is synced"
    yield from (f"{path} is new in {folder} and not synced" for folder, path in unsynced.items())


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    """Whose collections have several parts, and are written by several processes."""
    name = server.new_database()
    generate(server.connection, name, 100_000_000)
    return name


@pytest.mark.parametrize(
    "options",
    [
        ["--layout", "komodo"],
        ["--layout", "komodo", "--mode", "640"],
        ["--layout", "komodo-json"],
        ["--layout", "mongodump"],
        ["--layout", "mongodump", "--no-gzip"],
        ["--layout", "mongodump", "-o", "a backup"],
        ["--layout", "archive", "-o", "an archive"],
        ["--layout", "komodo", "--resume"],
    ],
    ids=" ".join,
)
def test_what_gets_a_name_is_on_the_disk(
    fastdump: Run, server: Server, database: str, tmp_path: Path, options: list[str]
) -> None:
    log, root = tmp_path / "log", tmp_path / "new" / "backups"
    variables = shim(tmp_path / "shim", RECORDER.replace("LOG", str(log)))
    where = [str(root / word) if word.startswith(("a ", "an ")) else word
             for word in options]  # fmt: skip
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", root, "-j", "2", *where)
    done = fastdump(*arguments, **variables)
    assert done.code == 0, done.err
    found = list(calls(log))
    names = {Path(one.to).name for one in found if Path(one.to).parent == root}
    assert any(name.startswith("2") for name in names) or "-o" in options
    assert ("Stats.gz" in names) == any(word.startswith("komodo") for word in options)
    assert list(complaints(found, root)) == []
    assert sum(len(one.stamps) for one in found if Path(one.to).parent == root) >= 1
    if "-o" not in options:
        log.unlink()
        again = fastdump(*arguments, "--max-backups", "1", **variables)
        assert "removed 1 old" in again.out, again.err
        found = list(calls(log))
        assert any(one.call == "remove" and ".removed/" in one.path for one in found)
        assert list(complaints(found, root)) == []
