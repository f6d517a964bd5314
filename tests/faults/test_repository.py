"""Repositories whose writers are killed, and several of which work at a time."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import msgspec
import pytest

import fastdump as package
from fastdump.codec import age
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.errors import StorageError
from fastdump.layouts.interface import BackupWriter
from fastdump.model import (
    Catalog,
    Chunk,
    ChunkSource,
    Collection,
    CollectionKind,
    Consistency,
    Keys,
    Namespace,
    Part,
    ServerInfo,
    WriteOptions,
)
from fastdump.progress import Silent
from fastdump.repository import leases, sweeping
from fastdump.repository.place import Repository
from fastdump.storage.local import LocalStorage
from fastdump.storage.memory import MemoryStorage
from tests.conftest import Run, Server, command, environment, wait_until
from tests.object_store import (
    BUCKET,
    FaultyProxy,
    S3Server,
    cut,
    lose,
    shorten,
    slow_down,
)

pytestmark = pytest.mark.timeout(300)

NAME = Namespace("db", "c")
CATALOG = Catalog(
    "db",
    ServerInfo("h", "6", "standalone"),
    (Collection("db", "c", CollectionKind.COLLECTION, b"\5\0\0\0\0", (), 1, 100),),
)


def put(writer: BackupWriter, contents: list[int]) -> None:
    """Put a chunk of one piece for each number."""
    for number, one in enumerate(contents):
        chunk = Chunk(NAME, ChunkSource(NAME), number=number, chunks=len(contents))
        with writer.outputs.opened(chunk) as output:
            output.write(bson.encode({"_id": one}), 1)
            part = output.end(Part(1, 20, 0, 0.0))
        writer.add(chunk, part)


def commit(writer: BackupWriter) -> None:
    now = datetime.now(UTC)
    writer.commit(CATALOG, now, now, Consistency("none"))


class Unsteady(MemoryStorage):
    """A storage whose calls take their time, so that everything comes in between everything."""

    def _wait(self) -> None:
        time.sleep(random.random() * 0.004)

    def put(self, key: str, data: bytes) -> None:
        self._wait()
        super().put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        self._wait()
        done = super().put_new(key, data)
        self._wait()
        return done

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._wait()
        return super().get(key, start, length)

    def delete(self, key: str) -> None:
        self._wait()
        super().delete(key)


def check(storage: MemoryStorage) -> int:
    """See that every piece that a manifest names is there; returns how many backups there are."""
    repository = Repository(storage)
    backups = repository.backups()
    for backup in backups:
        assert backup.has_manifest
        assert repository.reader.missing(repository.contents(backup)[0]) == []
    return len(backups)


def test_backups_and_sweeps_come_in_between_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines back up at a time, one prunes meanwhile: nothing that is named is ever missing."""
    monkeypatch.setattr(leases, "_WAIT_SECONDS", 0.002)
    storage = Unsteady()
    until = time.monotonic() + 12

    def back_up(seed: int) -> int:
        chance, count = random.Random(seed), 0
        while time.monotonic() < until:
            writer = Repository(storage).begin(datetime.now(), CATALOG, 1)
            try:
                put(writer, chance.sample(range(12), 4))
                if chance.random() < 0.8:
                    commit(writer)
                    count += 1
            finally:
                writer.close()
            time.sleep(chance.random() * 0.02)
        return count

    def prune(seed: int) -> int:
        chance, freed = random.Random(seed), 0
        while time.monotonic() < until:
            repository = Repository(storage, grace=timedelta(0))
            if not repository.exists():
                continue
            for old in repository.backups()[: -chance.randint(1, 3)]:
                repository.remove(old.path)
            freed += repository.sweep().file_bytes or 0
        return freed

    with ThreadPoolExecutor(5) as threads:
        backing = [threads.submit(back_up, seed) for seed in range(3)]
        pruning = [threads.submit(prune, seed) for seed in range(2)]
        made = sum(one.result() for one in backing)
        swept = sum(one.result() for one in pruning)
    assert made > 20
    assert swept > 0
    assert check(storage) > 0


def test_a_backup_that_slept_finds_what_was_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine was suspended for so long that a sweep took it for dead."""
    storage = MemoryStorage()
    grace = timedelta(0)
    first = Repository(storage).begin(datetime.now(), CATALOG, 1)
    put(first, [1, 2, 3])
    first.close()  # killed
    clock = [0.0]
    monkeypatch.setattr(leases, "_now", lambda: clock[0])
    writer = Repository(storage).begin(datetime.now(), CATALOG, 1)
    put(writer, [1, 2, 3])
    assert Repository(storage, grace=grace).sweep().file_bytes == 0
    with monkeypatch.context() as other:
        other.setattr(leases, "LIFE", timedelta(0))
        assert Repository(storage, grace=grace).sweep().file_bytes
    clock[0] = 3600.0
    with pytest.raises(StorageError, match="3 pieces that this backup needs were removed"):
        commit(writer)
    writer.abort()
    assert check(storage) == 0


def test_a_sweep_that_slept_deletes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine was suspended between two deletions, and a backup took it for dead."""
    storage = MemoryStorage()
    killed = Repository(storage).begin(datetime.now(), CATALOG, 1)
    put(killed, [1, 2, 3])
    killed.close()
    clock = [0.0]
    monkeypatch.setattr(leases, "_now", lambda: clock[0])
    monkeypatch.setattr(sweeping, "_THREADS", 1)
    delete = storage.delete

    def then_sleep(key: str) -> None:
        delete(key)
        if key.startswith("pieces/"):
            clock[0] = 3600.0

    monkeypatch.setattr(storage, "delete", then_sleep)
    Repository(storage, grace=timedelta(0)).sweep()
    assert len(list(storage.list("pieces"))) == 2


def test_a_backup_that_slept_while_all_was_encrypted_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage, memory = MemoryStorage(), MemoryStorage()
    old, new = age.new_identity(), age.new_identity()
    keys = Keys(recipients=[age.recipient_of(old)], identities=[old])
    first = Repository(storage, keys=keys, memory=memory).begin(datetime.now(), CATALOG, 1)
    put(first, [1, 2, 3])
    commit(first)
    first.close()
    clock = [0.0]
    monkeypatch.setattr(leases, "_now", lambda: clock[0])
    writer = Repository(storage, memory=memory).begin(datetime.now(), CATALOG, 1)
    put(writer, [4, 5])
    with monkeypatch.context() as other:
        other.setattr(leases, "LIFE", timedelta(0))
        others = Keys(recipients=[age.recipient_of(new)])
        report = Repository(storage, keys=keys).rekey(others, Silent())
        assert report.complete
    clock[0] = 3600.0
    put(writer, [4, 5, 6])
    with pytest.raises(StorageError, match="was encrypted for others while this backup was made"):
        commit(writer)
    writer.abort()
    assert len(list(storage.list("backups"))) == 1
    # What it put for the former key is not taken for what is for the new one.
    last = Repository(storage, memory=memory).begin(datetime.now(), CATALOG, 1)
    put(last, [4, 5, 6])
    commit(last)
    last.close()
    reading = Repository(storage, keys=Keys(identities=[new]))
    for backup in reading.backups():
        (collection,) = reading.contents(reading.find(backup.name))[0]
        (segment,) = reading.reader.segments(collection)
        assert sum(batch.documents for batch in reading.reader.batches(segment.place)) == 3


def test_a_sweep_leaves_files_of_others() -> None:
    storage = MemoryStorage()
    killed = Repository(storage).begin(datetime.now(), CATALOG, 1)
    killed.close()
    storage.put("pieces/@eaDir/thumb", b"of a NAS")
    Repository(storage, grace=timedelta(0)).sweep()
    assert storage.get("pieces/@eaDir/thumb") == b"of a NAS"


def test_a_lease_of_a_process_that_died_is_none() -> None:
    storage = MemoryStorage()
    with subprocess.Popen(["true"]) as process:
        pass
    gone = leases.Owner("here", process.pid, leases.Owner.this().where)
    elsewhere = leases.Owner("there", process.pid, "another machine")
    storage.put("leases/backup.1", msgspec.json.encode(gone))
    lease = leases.Lease(storage, leases.SWEEP)
    assert lease.others(leases.BACKUP) == []
    storage.put("leases/backup.2", msgspec.json.encode(elsewhere))
    assert [str(one) for one in lease.others(leases.BACKUP)] == [f"process {process.pid} of there"]
    leases.remove_dead(storage, lease.now())
    assert {one.key for one in storage.list("leases")} == {"leases/backup.2", lease.key}
    leases.remove_dead(storage, lease.now() + leases.LIFE)
    lease.release()
    assert list(storage.list("leases")) == []


def test_killed_at_random_moments(fastdump: Run, server: Server, tmp_path: Path) -> None:
    """A backup is there if and only if its manifest is, and what was put is used again."""
    database = server.new_database()
    generate(server.connection, database, 100_000_000)
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "r",
                 "--layout", "repository", "-j", "2", "-y", "-q")  # fmt: skip

    def pieces() -> int:
        return sum(path.is_file() for path in (tmp_path / "r/pieces").rglob("[0-9a-f]*"))

    complete = 0
    for attempt in range(8):
        process = subprocess.Popen(command(*arguments), env=environment())
        wait_until(
            lambda: process.poll() is not None or pieces() >= attempt // 2,  # noqa: B023
            "nothing was put",
        )
        time.sleep(random.random())
        process.send_signal(signal.SIGKILL)
        complete += process.wait() == 0
        with suppress(package.BackupNotFoundError, StorageError):  # killed before it was made
            complete = len(package.list_backups(tmp_path / "r"))
    there = pieces()
    done = fastdump(*arguments)
    assert done.code == 0, done.err
    backups = package.list_backups(tmp_path / "r")
    assert len(backups) == complete + 1
    for backup in backups:
        assert package.verify(tmp_path / "r", name=backup.name).intact
    named = sum(len(one.file.pieces) for one in backups[-1].collections if one.file)
    assert there > 1
    assert named >= there - 2, "what was put is not used again"
    target = server.new_database()
    package.restore(server.uri, target_db=target, folder=tmp_path / "r")
    expected = state(server.connection, database)
    assert differences(expected, state(server.connection, target)) == []


def test_an_object_store_that_fails_now_and_then(
    fastdump: Run, server: Server, s3: S3Server, tmp_path: Path
) -> None:
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 20_000_000)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    with FaultyProxy(s3) as proxy:
        for method in ("PUT", "GET", "HEAD", "POST"):
            for fault in (slow_down, cut, lose):
                proxy.fail(method, fault, times=2)
        done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", url,
                        "-y", **proxy.server.environment)  # fmt: skip
        assert done.code == 0, done.err
        proxy.fail("GET", shorten, times=2)
        proxy.fail("GET", slow_down, times=2)
        restored = fastdump("restore", "--target-uri", server.uri, "--target-db", target,
                            "-f", url, "-y", **proxy.server.environment)  # fmt: skip
        assert restored.code == 0, restored.err
    expected = state(server.connection, database)
    assert differences(expected, state(server.connection, target)) == []


def test_a_full_disk_leaves_no_half_backup(server: Server, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    database = server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1})
    first = package.backup(
        server.uri, db=database, folder=tmp_path, writing=WriteOptions(layout="repository")
    )
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 2})

    def refuse(storage: LocalStorage, key: str, data: bytes) -> bool:
        raise StorageError(f"{storage.shown}/{key}: there is no space left")

    with monkeypatch.context() as full:
        full.setattr(LocalStorage, "put_new", refuse)
        with pytest.raises(StorageError, match="no space left"):
            package.backup(server.uri, db=database, folder=tmp_path)
    assert [one.name for one in package.list_backups(tmp_path)] == [first.name]
    assert list((tmp_path / "leases").iterdir()) == []
    assert package.backup(server.uri, db=database, folder=tmp_path).new_bytes
