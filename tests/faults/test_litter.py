"""What a NAS, a Mac or Windows leaves in the folders of backups."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from tests.conftest import Run, Server
from tests.shims import shim

pytestmark = pytest.mark.timeout(120)

LAYOUTS = ["komodo", "komodo-json", "mongodump"]
APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + bytes(76)


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    for collection in ("c", "Stats"):
        insert(server.connection, name, collection, ({"_id": n} for n in range(100)))
    return name


def litter(folder: Path) -> None:
    """Leave in a folder, and in each folder in it, what other programs leave."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for path in [path for path in place.iterdir() if path.is_file()]:
            (place / f"._{path.name}").write_bytes(APPLE_DOUBLE)
            (place / f"{path.name}@SynoEAStream").write_bytes(b"?")
        for name in (".DS_Store", "._c.gz", "._c.bson", "._c.metadata.json", "._manifest.json"):
            (place / name).write_bytes(APPLE_DOUBLE)
        for name in ("Thumbs.db", "desktop.ini", ".nfs000000000001"):
            (place / name).write_bytes(b"?")
    for place in [folder, *(path for path in folder.iterdir() if path.is_dir())]:
        for name in ("@eaDir", "lost+found", "#recycle", "__MACOSX"):
            (place / name / "c.gz").mkdir(parents=True)
            (place / name / "c.bson").write_bytes(b"?")
            (place / name / "c.gz" / "c.gz").write_bytes(b"?")


def check_restore(
    fastdump: Run, server: Server, database: str, *which: object, renamed: bool = False
) -> str:
    target = server.new_database()
    into = ("--ns-from", f"{database}.*", "--ns-to", f"{target}.*")
    done = fastdump(
        "restore", "--target-uri", server.uri, "-y", *which,
        *(into if renamed else ("--target-db", target)),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    return done.err


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_a_folder_of_backups(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "b"
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder, "--layout", layout)
    for _ in range(2):
        assert fastdump(*arguments).code == 0
    before = api.list_backups(folder)
    litter(folder)
    assert api.list_backups(folder) == before
    assert fastdump("list", "-f", folder).out.count("the latest") == (layout != "mongodump")
    verified = fastdump("verify", "-f", folder)
    assert verified.code == 0, verified.err
    assert "ignored, not part of a backup: #recycle, .DS_Store, ._" in verified.err
    said = check_restore(fastdump, server, database, "-f", folder, renamed=layout == "mongodump")
    assert "ignored, not part of a backup: #recycle, .DS_Store, ._" in said
    again = fastdump(*arguments, "--max-backups", "1")
    assert again.code == 0, again.err
    assert again.out.count("removed 2 old") == 1
    assert [path.name for path in folder.glob("2*")] == [
        again.out.split("backup ")[1].split(" is complete")[0]
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_could_be_a_collection_is_still_damage(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "b"
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder, "--layout", layout)
    assert fastdump(*arguments).code == 0
    (manifest,) = folder.glob("2*/manifest.json")
    for file in ("d.gz", "e.bson", "f.metadata.json", f"{database}/g.gz"):
        path = manifest.parent / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"?")
        done = fastdump("verify", "-f", folder)
        assert done.code == 4
        assert f"{path}: is not part of the backup" in done.err
        path.unlink()


@pytest.mark.parametrize("gzip", ["--gzip", "--no-gzip"])
@pytest.mark.parametrize("inner", [True, False])
def test_in_what_mongodump_wrote(
    fastdump: Run, server: Server, database: str, tmp_path: Path, gzip: str, inner: bool
) -> None:
    dump = tmp_path / "dump"
    done = fastdump(
        "backup", "--uri", server.uri, "--db", database, "--layout", "mongodump", gzip, "-o", dump
    )
    assert done.code == 0, done.err
    (dump / "manifest.json").unlink()
    for path in dump.rglob("prelude.json*"):
        path.unlink()
    litter(dump)
    which = dump / database if inner else dump
    verified = fastdump("verify", which)
    assert verified.code == 0, verified.err
    assert "ignored, not part of a backup: #recycle, .DS_Store, ._" in verified.err
    said = check_restore(fastdump, server, database, which, renamed=True)
    assert f"{which}: ignored, not part of a backup: #recycle, .DS_Store, ._" in said


def test_in_what_komodo_wrote(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    """Where no manifest tells what is a collection."""
    folder = tmp_path / "b"
    done = fastdump(
        "backup", "--uri", server.uri, "--db", database, "-f", folder, "--layout", "komodo-json"
    )
    assert done.code == 0, done.err
    for path in folder.rglob("*manifest.json"):
        path.unlink()
    litter(folder)
    verified = fastdump("verify", "-f", folder)
    assert verified.code == 0, verified.err
    check_restore(fastdump, server, database, "-f", folder)


MAKES_LITTER = """
    made, changed = os.mkdir, os.chmod
    def make(path, *arguments, **more):
        made(path, *arguments, **more)
        made(os.path.join(path, "@eaDir"))
        for name in (".DS_Store", "@eaDir/c.gz", "Thumbs.db"):
            open(os.path.join(path, name), "w").close()
    os.mkdir = make
    os.chmod = refusing(os.chmod, errno.EPERM, lambda path, *_, **__: any(
        name in str(path) for name in ("@eaDir", ".DS_Store", "Thumbs.db")
    ))
"""
FULL_AT_THE_END = """
    os.open = refusing(
        os.open, errno.ENOSPC, lambda path, *_, **__: str(path).endswith("/manifest.json")
    )
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_while_a_backup_is_written_and_resumed(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str
) -> None:
    """A NAS looks into each new folder at once, as a user of its own."""
    folder = tmp_path / "b"
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder, "--layout", layout,
                 "--resume")  # fmt: skip
    ended = fastdump(*arguments, **shim(tmp_path / "full", MAKES_LITTER + FULL_AT_THE_END))
    assert ended.code == 1, ended.err
    (left,) = folder.glob(".2*.partial")
    assert (left / "@eaDir").exists()
    done = fastdump(*arguments, **shim(tmp_path / "shim", MAKES_LITTER))
    assert done.code == 0, done.err
    assert left.name[1:].removesuffix(".partial") in done.out
    assert "permissions" not in done.err
    assert (next(folder.glob("2*")) / "@eaDir").exists()
    assert fastdump("verify", "-f", folder).code == 0
    check_restore(fastdump, server, database, "-f", folder, renamed=layout == "mongodump")


def test_a_folder_that_only_seems_empty_is_refused_by_name(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    """It could not be replaced by a rename."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".DS_Store").write_bytes(APPLE_DOUBLE)
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-o", out)
    assert done.code == 1
    assert f"{out}: the folder is not empty (.DS_Store)" in done.err
    shutil.rmtree(out)
