"""Archives: those that mongodump wrote, ours by both tools, through a pipe, cut and damaged.

The files under tests/data/mongodump were written by mongodump of MongoDB Database Tools (August
2026) from what `fill` makes on MongoDB 6.0.5, the second with --gzip.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import threading
from pathlib import Path

import bson
import psutil
import pytest

import fastdump
from benchmarks.shapes import hurtful, insert
from fastdump.codec import archive
from fastdump.codec.archive import Described
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from fastdump.errors import BackupDamagedError, BackupNotFoundError, ServerError, UsageError
from fastdump.model import Namespace
from fastdump.mongo.client import open_database
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment
from tests.integration.test_mongodump_folder import DATA, check_same, fill, lacking
from tests.proxy import Document, Forward, WireProxy


@pytest.fixture(scope="module")
def filled(server: Server) -> str:
    name = server.new_database()
    fill(server, name)
    return name


@pytest.fixture(scope="module")
def hurt(server: Server) -> str:
    name = server.new_database()
    hurtful(server.connection, name)
    return name


@pytest.mark.parametrize("form", ["dumped.archive", "dumped.archive.gz"])
@pytest.mark.parametrize("workers", [1, 3])
def test_files_that_mongodump_wrote(server: Server, filled: str, form: str, workers: int) -> None:
    target = server.new_database()
    unknown = [f"*.{name}" for name in lacking()]
    report = fastdump.restore(
        server.uri,
        target_db=target,
        name=DATA / form,
        workers=workers,
        namespaces=fastdump.NamespaceFilter(exclude=unknown),
    )
    held = 322 - sum({"clustered": 40, "series": 1}[name] for name in lacking())
    assert (report.complete, report.inserted) == (True, held)
    check_same(server, filled, target)
    verified = fastdump.verify(name=DATA / form)
    assert (verified.problems, verified.documents) == ((), 322)


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_hurts(
    server: Server,
    hurt: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    *,
    gzipped: bool,
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    file, target = tmp_path / "it.archive", server.new_database()
    backup = fastdump.backup(
        server.uri,
        db=hurt,
        workers=workers,
        writing=fastdump.WriteOptions(
            layout="archive",
            out=file,
            compression=fastdump.Compression("gzip" if gzipped else "none"),
        ),
    )
    assert (backup.workers, backup.path) == (workers, file)
    assert file.stat().st_mode & 0o077 == 0
    report = fastdump.restore(server.uri, target_db=target, name=file, workers=workers)
    assert (report.complete, report.documents) == (True, backup.documents)
    assert differences(state(server.connection, hurt), state(server.connection, target)) == []
    again = fastdump.restore(server.uri, target_db=target, name=file, workers=workers)
    assert (again.complete, again.inserted, again.replaced) == (True, 0, 0)


def test_through_a_pipe(server: Server, tmp_path: Path) -> None:
    """Nothing touches a disk, and neither side holds more than a little of it."""
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 100_000_000)
    backup = subprocess.Popen(
        command("backup", "--uri", server.uri, "--db", database, "--layout", "archive", "-o", "-"),
        env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    restore = subprocess.Popen(
        command("restore", "--target-uri", server.uri, "--target-db", target, "-y", "-"),
        env=environment(), cwd=tmp_path, stdin=backup.stdout, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert backup.stdout is not None
    backup.stdout.close()
    most = 0
    process = psutil.Process(restore.pid)
    while restore.poll() is None:
        try:
            most = max(most, process.memory_info().rss)
            restore.communicate(timeout=0.05)
        except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
            continue
    assert backup.wait(COMMAND_SECONDS) == 0
    assert restore.returncode == 0
    assert 0 < most < 100_000_000
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_a_reader_that_ends_is_said(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    generate(server.connection, database, 5_000_000)
    backup = subprocess.Popen(
        command("backup", "--uri", server.uri, "--db", database, "--layout", "archive", "-o", "-"),
        env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert backup.stdout is not None
    backup.stdout.close()
    assert backup.stderr is not None
    said = backup.stderr.read()
    assert backup.wait(COMMAND_SECONDS) == 1
    assert "the program that reads it has ended" in said
    assert "Traceback" not in said


def test_all_databases(fastdump: Run, server: Server, tmp_path: Path) -> None:
    one, two = server.new_database(), server.new_database()
    for name in (one, two):
        insert(server.connection, name, "c", ({"_id": f"{name}{n}"} for n in range(5)))
    with server.client() as client:
        client["local"]["mine"].insert_one({"_id": 1})
        client["__mdb_internal_x"]["c"].insert_one({"_id": 1})
        client["admin"]["mine"].insert_one({"_id": 1})
    expected = {name: state(server.connection, name) for name in (one, two)}
    for layout, out in (("archive", "all.archive"), ("mongodump", "dump")):
        done = fastdump("backup", "--uri", server.uri, "--layout", layout, "-o", out, "-y", "-v")
        assert done.code == 0, done.err
        assert f"{one}.c" in done.out
        assert "admin.mine" in done.out
        assert "local" not in done.out
        assert "__mdb" not in done.out
        for name in (one, two):
            with server.client() as client:
                client.drop_database(name)
        restored = fastdump(
            "restore", "--target-uri", server.uri, "-y", tmp_path / out, "--ns-include", f"{one}.*",
            "--ns-include", f"{two}.*",
        )  # fmt: skip
        assert restored.code == 0, restored.err
        for name, wanted in expected.items():
            assert differences(wanted, state(server.connection, name)) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], r"the archive is cut, at byte \d+"),
        (lambda data: data[:-4], r"the archive is cut, at byte \d+"),
        (lambda data: data.replace(b"yyyyyyyy", b"yyyyyyyz", 1), "are not those that were written"),
    ],
)
def test_what_is_intact_is_restored(
    server: Server, tmp_path: Path, damage: object, said: str
) -> None:
    assert callable(damage)
    file, target = tmp_path / "damaged", server.new_database()
    file.write_bytes(damage((DATA / "dumped.archive").read_bytes()))
    unknown = [f"*.{name}" for name in lacking()]
    report = fastdump.restore(
        server.uri,
        target_db=target,
        name=file,
        namespaces=fastdump.NamespaceFilter(exclude=unknown),
    )
    assert not report.complete
    assert report.inserted > 100
    assert len(report.failures) == 1
    assert re.search(said, report.failures[0])
    assert re.search("cut|fail their CRC", fastdump.verify(name=file).problems[0].message)


def test_a_cut_gzip_archive(fastdump: Run, server: Server, tmp_path: Path) -> None:
    data = (DATA / "dumped.archive.gz").read_bytes()
    file = tmp_path / "cut.gz"
    file.write_bytes(data[: len(data) * 3 // 4])
    target = ("--target-uri", server.uri, "--target-db", server.new_database())
    done = fastdump("restore", *target, "-y", file)
    assert done.code == 1
    assert str(file) in done.err
    assert "Traceback" not in done.err
    assert fastdump("verify", file).code == 4


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x1f\x8b\x08", gzip.compress(b"text", mtime=0), archive.MAGIC[:3]]
)
def test_what_is_no_archive(fastdump: Run, server: Server, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    done = fastdump("restore", "--target-uri", server.uri, "-y", tmp_path / "file")
    assert done.code == 4
    assert "is not an archive" in done.err
    assert fastdump("restore", "--target-uri", server.uri, "-y", "absent").code == 4


def test_a_head_that_is_damaged(server: Server, tmp_path: Path) -> None:
    described = [Described(Namespace("db", "c"), b"{", "collection")]
    for content in (archive.MAGIC, archive.prelude(1, "", "", described)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(BackupDamagedError, match="file: "):
            fastdump.restore(server.uri, name=tmp_path / "file")


def test_a_failed_backup_leaves_the_last_archive(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "it.archive"
    file.write_bytes(b"the last good one")
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    with server.client() as client:
        open_database(client, database).command(
            {"create": "v", "viewOn": "c", "pipeline": [{"$project": {"x": {"$divide": [1, 0]}}}]}
        )
    with pytest.raises(ServerError):
        fastdump.backup(
            server.uri,
            db=database,
            writing=fastdump.WriteOptions(layout="archive", out=file),
            collections=fastdump.CollectionFilter(views_as_collections=True),
        )
    assert file.read_bytes() == b"the last good one"
    assert [path.name for path in tmp_path.iterdir()] == ["it.archive"]


def test_options_that_do_not_fit(server: Server, tmp_path: Path) -> None:
    for layout, out, said in (
        ("archive", None, "name it with --out"),
        ("komodo", "-", "cannot go to standard output"),
        ("mongodump", "-", "cannot go to standard output"),
    ):
        with pytest.raises(UsageError, match=said):
            fastdump.backup(
                server.uri, folder=tmp_path, writing=fastdump.WriteOptions(layout=layout, out=out)
            )
    with pytest.raises(UsageError, match="always gzip"):
        fastdump.backup(
            server.uri,
            folder=tmp_path,
            writing=fastdump.WriteOptions(compression=fastdump.Compression("none")),
        )
    with pytest.raises(BackupNotFoundError, match="matches nothing"):
        fastdump.restore(
            server.uri,
            name=DATA / "dumped.archive",
            namespaces=fastdump.NamespaceFilter(include=["nowhere.*"]),
        )


@pytest.mark.skipif(not shutil.which("mongorestore"), reason="mongorestore is not on PATH")
@pytest.mark.parametrize("gzipped", [True, False])
def test_by_mongorestore_itself(
    server: Server, filled: str, tmp_path: Path, *, gzipped: bool
) -> None:
    file, target = tmp_path / "it.archive", server.new_database()
    fastdump.backup(
        server.uri,
        db=filled,
        writing=fastdump.WriteOptions(
            layout="archive",
            out=file,
            compression=fastdump.Compression("gzip" if gzipped else "none"),
        ),
    )
    subprocess.run(
        ["mongorestore", "--quiet", "--uri", server.uri, f"--archive={file}",
         *(["--gzip"] if gzipped else []), "--nsFrom", f"{filled}.*", "--nsTo", f"{target}.*"],
        check=True, timeout=COMMAND_SECONDS,
    )  # fmt: skip
    check_same(server, filled, target)


@pytest.mark.skipif(not shutil.which("mongodump"), reason="mongodump is not on PATH")
def test_what_hurts_by_mongodump_itself(server: Server, hurt: str, tmp_path: Path) -> None:
    file, target = tmp_path / "it.archive", server.new_database()
    subprocess.run(
        ["mongodump", "--quiet", "--uri", server.uri, "--db", hurt, f"--archive={file}"],
        check=True, timeout=COMMAND_SECONDS,
    )  # fmt: skip
    report = fastdump.restore(server.uri, target_db=target, name=file)
    assert report.complete
    assert differences(state(server.connection, hurt), state(server.connection, target)) == []


def test_documents_that_hold_more_than_a_block(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    big = [{"_id": n, "p": bson.Binary(b"x" * 15_000_000)} for n in range(3)]
    insert(server.connection, database, "c", big)
    file = tmp_path / "it.archive"
    fastdump.backup(
        server.uri, db=database, writing=fastdump.WriteOptions(layout="archive", out=file)
    )
    assert fastdump.restore(server.uri, target_db=target, name=file).complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_interleaved_blocks_of_a_capped_collection_keep_their_order(
    server: Server, tmp_path: Path
) -> None:
    """Also where others are on their way before them: each waits for the one before."""
    capped, other = (Namespace("x", name) for name in ("capped", "other"))
    options = b'{"options": {"capped": true, "size": 1000000}}'
    blocks = [(other, 0), *((capped, n) for n in range(4))]
    data = [(name, bson.encode({"_id": n})) for name, n in blocks]
    crc = {name: archive.combined((archive.crc64(one), len(one)) for of, one in data if of == name)
           for name in (capped, other)}  # fmt: skip
    file = tmp_path / "it.archive"
    file.write_bytes(b"".join([
        archive.prelude(2, "6.0.5", "test", [
            Described(capped, options, "collection"), Described(other, b"", "collection")]),
        *(archive.block(name, one) for name, one in data),
        *(archive.end(name, crc[name]) for name in (capped, other)),
    ]))  # fmt: skip
    target, others_came = server.new_database(), threading.Event()
    arrived: list[int] = []

    def hold_the_first(command: Document, forward: Forward) -> Document:
        if command["insert"] == "capped":
            arrived.append(1)
            if len(arrived) > 1:
                reply = forward(command)
                others_came.set()
                return reply
            others_came.wait(1)  # in vain, where order is kept
        return forward(command)

    with WireProxy(server.uri) as proxy:
        proxy.around("insert", hold_the_first)
        assert fastdump.restore(proxy.uri, target_db=target, name=file, workers=3).complete
    with server.client() as client:
        found = client[target]["capped"].find().sort("$natural", 1)
        assert [one["_id"] for one in found] == [0, 1, 2, 3]
