"""Encrypted repositories: whole commands, and what others can see of them."""

from __future__ import annotations

import os
import pty
import random
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from pyrage import x25519

import fastdump as package
from benchmarks.shapes import hurtful
from fastdump.codec import age
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.errors import FormatError, RemoteStorageError, UsageError
from fastdump.model import Compression, Keys, WriteOptions
from fastdump.repository import description, pieces
from fastdump.repository.leases import REKEY, Lease
from fastdump.storage.local import LocalStorage
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment, wait_until
from tests.object_store import BUCKET, S3Server

PASSPHRASE = "a long passphrase of several words"


class Pair:
    """A key and what it opens."""

    def __init__(self) -> None:
        identity = x25519.Identity.generate()
        self.secret, self.public = str(identity), str(identity.to_public())
        self.reads = Keys(identities=[self.secret])

    def file(self, folder: Path) -> Path:
        """A file as age-keygen writes it."""
        path = folder / f"{self.public[-6:]}.txt"
        path.write_text(f"# created: 2026-08-12\n# public key: {self.public}\n{self.secret}\n")
        return path


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this machine remembers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/fastdump"


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    with server.client() as client:
        made = [{"_id": n, "secret": f"a secret that nobody finds {n}"} for n in range(3000)]
        client[name]["hidden_collection"].insert_many(made)
        client[name]["hidden_collection"].create_index("secret", name="hidden_index")
    return name


def back_up(
    server: Server, database: str, folder: Path, *recipients: str, passphrase: str | None = None
) -> package.BackupReport:
    keys = Keys(recipients=recipients, passphrase=passphrase)
    return package.backup(
        server.uri, db=database, folder=folder, workers=1,
        writing=WriteOptions(layout="repository", keys=keys, compression=Compression("none")),
    )  # fmt: skip


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def names(folder: Path) -> set[str]:
    return {path.name for path in files(folder / "pieces")}


def comes_back(
    server: Server, database: str, folder: Path, keys: Keys, name: str | None = None
) -> None:
    target = server.new_database()
    report = package.restore(server.uri, target_db=target, folder=folder, keys=keys, name=name)
    assert report.complete
    expected, found = (state(server.connection, one) for one in (database, target))
    assert differences(expected, found) == []


def test_nothing_is_written_in_clear(
    server: Server, database: str, folder: Path, pair: Pair
) -> None:
    report = back_up(server, database, folder, pair.public)
    assert any("without the key or the passphrase nobody" in note for note in report.notes)
    words = [database, "hidden_collection", "hidden_index", "a secret that nobody", pair.secret]
    assert len(files(folder)) >= 3
    for path in files(folder):
        content = path.read_bytes()
        assert not [word for word in words if word.encode() in content], path
    assert package.verify(folder, keys=pair.reads).intact
    comes_back(server, database, folder, pair.reads)


def test_everything_comes_back(server: Server, folder: Path, pair: Pair) -> None:
    database = server.new_database()
    hurtful(server.connection, database)
    for _ in range(2):
        back_up(server, database, folder, pair.public)
        comes_back(server, database, folder, pair.reads)


def test_the_machine_that_backs_up_needs_no_secret(
    server: Server, database: str, folder: Path, pair: Pair
) -> None:
    first = back_up(server, database, folder, pair.public)
    assert first.new_bytes == first.file_bytes > 0
    # The repository knows for whom it is, so this need not be said again.
    again = back_up(server, database, folder)
    assert (again.new_bytes, again.file_bytes) == (0, first.file_bytes)
    with server.client() as client:
        client[database]["hidden_collection"].insert_one({"_id": -1})
    changed = back_up(server, database, folder, pair.public)
    assert (changed.new_bytes or 0) > 0
    comes_back(server, database, folder, pair.reads)
    assert len(package.list_backups(folder, keys=pair.reads)[-1].collections) == 1


def test_a_machine_that_remembers_nothing_writes_everything_once(
    server: Server, database: str, folder: Path, pair: Pair, memory: Path
) -> None:
    back_up(server, database, folder, pair.public)
    shutil.rmtree(memory)
    second = back_up(server, database, folder, pair.public)
    assert second.new_bytes == second.file_bytes > 0
    assert any("remembers nothing" in note for note in second.notes)
    assert back_up(server, database, folder, pair.public).new_bytes == 0
    for one in package.list_backups(folder):
        assert package.verify(folder, name=one.name, keys=pair.reads).intact
    # With a key it finds in the repository what it has forgotten.
    shutil.rmtree(memory)
    keys = Keys(recipients=[pair.public], identities=[pair.secret])
    third = package.backup(
        server.uri, db=database, folder=folder,
        writing=WriteOptions(layout="repository", keys=keys),
    )  # fmt: skip
    assert third.new_bytes == 0
    assert not any("remembers nothing" in note for note in third.notes)


def test_what_is_remembered_cannot_be_written(
    server: Server, database: str, folder: Path, pair: Pair, memory: Path
) -> None:
    memory.parent.write_text("a file where a folder should be")
    report = back_up(server, database, folder, pair.public)
    assert any("set XDG_STATE_HOME" in note for note in report.notes)
    comes_back(server, database, folder, pair.reads)


def test_pruning_needs_no_key(
    fastdump: Run, server: Server, database: str, folder: Path, pair: Pair
) -> None:
    other = server.new_database()
    with server.client() as client:
        client[other]["c"].insert_one({"_id": 1})
    for name in (database, database, other):
        back_up(server, name, folder, pair.public)
    listed = fastdump("list", "-f", folder)
    assert listed.code == 0
    assert listed.out.count("encrypted") == 3
    assert database not in listed.out
    done = fastdump("prune", "-f", folder, "--keep-last", 1, "-y")
    assert done.code == 0, done.err
    kept = package.list_backups(folder, keys=pair.reads)
    # Backups of different databases are counted apart.
    assert [one.databases for one in kept] == [(database,), (other,)]
    for one in kept:
        assert package.verify(folder, name=one.name, keys=pair.reads).intact


def test_without_the_key(
    fastdump: Run, server: Server, database: str, folder: Path, pair: Pair, tmp_path: Path
) -> None:
    back_up(server, database, folder, pair.public)
    options = ["--target-uri", server.uri, "-f", folder, "-y"]
    for arguments in (["verify", "-f", folder], ["restore", *options]):
        done = fastdump(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "is encrypted: name the file with your key by --identity" in done.err
        done = fastdump(*arguments, "--identity", Pair().file(tmp_path))
        assert done.code == 2
        assert "encrypted for other keys than those of --identity" in done.err
        # For whom backups are encrypted now does not matter to those who read.
        done = fastdump(*arguments, "--identity", pair.file(tmp_path),
                        FASTDUMP_ENCRYPT_TO=Pair().public)  # fmt: skip
        assert done.code == 0, done.err


def test_a_passphrase(
    fastdump: Run, server: Server, database: str, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\n")
    options = ["--uri", server.uri, "--db", database, "--layout", "repository", "-f", folder]
    done = fastdump("backup", *options, "--encrypt-to", "passphrase")
    assert (done.code, "there is no passphrase" in done.err) == (2, True)
    done = fastdump("backup", *options, "--encrypt-to", "passphrase", "--passphrase-file", secret)
    assert done.code == 0, done.err
    done = fastdump("backup", *options)  # it is needed to read only
    assert done.code == 0, done.err
    assert all(PASSPHRASE.encode() not in path.read_bytes() for path in files(folder))
    done = fastdump("verify", "-f", folder)
    assert (done.code, "or give its passphrase" in done.err) == (2, True)
    done = fastdump("verify", "-f", folder, FASTDUMP_PASSPHRASE="another")
    assert (done.code, "the passphrase is wrong" in done.err) == (2, True)
    done = fastdump("verify", "-f", folder, FASTDUMP_PASSPHRASE=PASSPHRASE)
    assert done.code == 0, done.err
    comes_back(server, database, folder, Keys(passphrase=PASSPHRASE))


def test_the_passphrase_is_asked_for_to_read_only(
    server: Server, database: str, folder: Path
) -> None:
    back_up(server, database, folder, "passphrase", passphrase=PASSPHRASE)

    def on_a_terminal(*arguments: object, asked: bool) -> str:
        ours, theirs = pty.openpty()
        running = subprocess.Popen(
            command(*arguments, "-f", folder), env=environment(), stdin=theirs,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        if asked:
            prompt = b"Passphrase of the repository: "
            assert running.stderr is not None
            assert running.stderr.read(len(prompt)) == prompt
            # Only now: what was typed before the question is thrown away.
            os.write(ours, f"{PASSPHRASE}\n".encode())
        out, err = running.communicate(timeout=COMMAND_SECONDS)
        os.close(ours)
        os.close(theirs)
        assert running.returncode == 0, err
        return (out + err).decode()

    backup = ("backup", "--uri", server.uri, "--db", database, "-y")
    for arguments in (("list",), ("prune", "-y"), backup):
        assert "Passphrase" not in on_a_terminal(*arguments, asked=False)
    assert PASSPHRASE not in on_a_terminal("verify", asked=True)


def test_recipients_that_do_not_fit(
    fastdump: Run, server: Server, database: str, folder: Path, pair: Pair, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not a public key"):
        back_up(server, database, folder, "age1nonsense")
    with pytest.raises(UsageError, match="only a repository is encrypted"):
        package.backup(server.uri, db=database, folder=tmp_path / "komodo",
                       writing=WriteOptions(keys=Keys(recipients=[pair.public])))  # fmt: skip
    back_up(server, database, folder, pair.public)
    with pytest.raises(UsageError, match="fastdump rekey encrypts it for others"):
        back_up(server, database, folder, Pair().public)
    back_up(server, database, tmp_path / "open")
    with pytest.raises(UsageError, match="a repository without encryption"):
        back_up(server, database, tmp_path / "open", pair.public)
    listed = tmp_path / "recipients"
    listed.write_text(f"# the two of us\n{pair.public}\n{Pair().public}\n")
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "two",
                    "--layout", "repository", "--encrypt-to", listed)  # fmt: skip
    assert done.code == 0, done.err
    comes_back(server, database, tmp_path / "two", pair.reads)


def test_encrypting_for_others(
    server: Server, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_MIN_BYTES", 10_000)
    old, new = Pair(), Pair()
    first = back_up(server, database, folder, old.public)
    # Only what comes: nothing is shared with what is for the former key.
    report = package.rekey(folder, Keys(recipients=[new.public]))
    assert (report.backups, report.left, report.complete) == (0, 1, False)
    second = back_up(server, database, folder, new.public)
    assert second.new_bytes == second.file_bytes > 0
    assert any("no longer for" in note for note in second.notes)
    comes_back(server, database, folder, new.reads)
    assert [one.sealed_bytes for one in package.list_backups(folder, keys=new.reads)] == [
        first.file_bytes, None
    ]  # fmt: skip
    # All of it, with the keys that open it.
    both = Keys(identities=[old.secret, new.secret])
    last = Pair()
    before = names(folder)
    report = package.rekey(folder, Keys(recipients=[last.public]), keys=both)
    assert (report.complete, report.failures, report.backups) == (True, (), 2)
    assert not before & names(folder), "former pieces are still there"
    for one in package.list_backups(folder, keys=last.reads):
        assert package.verify(folder, name=one.name, keys=last.reads).intact
        comes_back(server, database, folder, last.reads, one.name)
    for pair in (old, new):
        assert all(one.sealed_bytes for one in package.list_backups(folder, keys=pair.reads))
    # What was encrypted again is shared by later backups.
    assert back_up(server, database, folder, last.public).new_bytes == 0


def test_a_backup_waits_until_the_repository_is_encrypted_for_others(
    server: Server, database: str, folder: Path
) -> None:
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    storage = LocalStorage(folder)
    lease = Lease(storage, REKEY)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(back_up, server, database, folder)
        wait_until(lambda: list((folder / "leases").glob("backup.*")), "no backup began")
        found = description.read(storage)
        assert found is not None
        changed = description.replace(storage, found, Keys(recipients=[new.public]))
        assert changed.generations
        assert not running.done()
        lease.release()
        report = running.result()
    assert report.new_bytes == report.file_bytes > 0
    comes_back(server, database, folder, new.reads)


def test_a_key_that_opens_nothing_changes_nothing(
    fastdump: Run, server: Server, database: str, folder: Path, tmp_path: Path
) -> None:
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    rekey = ["rekey", "-f", folder, "-y", "--encrypt-to", new.public, "--identity"]
    done = fastdump(*rekey, Pair().file(tmp_path))
    assert (done.code, "still encrypted for the former keys" in done.err) == (1, True)
    comes_back(server, database, folder, old.reads)
    done = fastdump(*rekey, old.file(tmp_path))
    assert done.code == 0, done.err
    comes_back(server, database, folder, new.reads)


@pytest.mark.parametrize("at", ["pieces", "backups"])
def test_a_run_that_was_interrupted_is_continued(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    database = server.new_database()
    generate(server.connection, database, 2_000_000)
    old, new = Pair(), Pair()
    first = back_up(server, database, folder, old.public)
    second = back_up(server, database, folder, old.public)
    kept = LocalStorage.put_new if at == "pieces" else LocalStorage.put
    left = iter(range(5 if at == "pieces" else 1))

    def interrupted(storage: LocalStorage, key: str, data: bytes) -> bool | None:
        if key.startswith(at) and next(left, None) is None:
            raise KeyboardInterrupt
        return kept(storage, key, data)

    with monkeypatch.context() as while_interrupted:
        while_interrupted.setattr(LocalStorage, kept.__name__, interrupted)
        with pytest.raises(KeyboardInterrupt):
            package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    # Each backup is whole for one of the keys, at every moment.
    opened = [
        pair
        for pair in (old, new)
        for one in package.list_backups(folder, keys=pair.reads)
        if one.sealed_bytes is None
        and package.verify(folder, name=one.name, keys=pair.reads).intact
    ]
    assert opened == ([old, old] if at == "pieces" else [old, new])
    report = package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    assert (report.complete, report.failures) == (True, ())
    assert report.backups == (2 if at == "pieces" else 1)
    for name in (first.name, second.name):
        comes_back(server, database, folder, new.reads, name)
    again = package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    assert (again.backups, again.complete) == (0, True)
    assert back_up(server, database, folder, new.public).new_bytes == 0


def test_a_killed_run_is_continued(
    fastdump: Run, server: Server, folder: Path, tmp_path: Path
) -> None:
    database = server.new_database()
    generate(server.connection, database, 100_000_000)
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    there = len(names(folder))
    rekey = ("rekey", "-f", folder, "-y", "-q", "--encrypt-to", new.public,
             "--identity", old.file(tmp_path))  # fmt: skip
    for _attempt in range(3):
        process = subprocess.Popen(command(*rekey), env=environment())
        wait_until(
            lambda: process.poll() is not None or len(names(folder)) > there,  # noqa: B023
            "nothing was put",
        )
        time.sleep(random.random() / 5)
        process.kill()
        process.wait()
    done = fastdump(*rekey)
    assert done.code == 0, done.err
    comes_back(server, database, folder, new.reads)
    assert all(one.sealed_bytes for one in package.list_backups(folder, keys=old.reads))


def test_encrypting_an_object_store_for_others(
    server: Server, database: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    old, new = Pair(), Pair()
    writing = WriteOptions(layout="repository", keys=Keys(recipients=[old.public]))
    package.backup(server.uri, db=database, folder=url, writing=writing)
    report = package.rekey(url, Keys(recipients=[new.public]), keys=old.reads)
    assert (report.complete, report.backups) == (True, 1)
    assert package.verify(url, keys=new.reads).intact
    target = server.new_database()
    assert package.restore(server.uri, target_db=target, folder=url, keys=new.reads).complete
    expected, found = (state(server.connection, one) for one in (database, target))
    assert differences(expected, found) == []


def test_times_do_not_matter(server: Server, database: str, folder: Path) -> None:
    """The clock was wrong, or the repository was copied."""
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    for number, path in enumerate(files(folder)):
        moved = time.time() + (86400 if number % 2 else -86400)
        os.utime(path, (moved, moved))
    report = package.rekey(folder, Keys(recipients=[new.public]))
    assert (report.left, report.complete) == (1, False)
    assert back_up(server, database, folder, new.public).new_bytes
    comes_back(server, database, folder, new.reads)
    report = package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    assert (report.backups, report.complete) == (1, True)


def test_a_damaged_piece_leaves_its_backups_to_the_former_key(
    fastdump: Run, server: Server, database: str, folder: Path, tmp_path: Path
) -> None:
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    (piece,) = files(folder / "pieces")
    content = bytearray(piece.read_bytes())
    content[-40] ^= 1
    piece.write_bytes(content)
    done = fastdump("rekey", "-f", folder, "-y", "--encrypt-to", new.public,
                    "--identity", old.file(tmp_path))  # fmt: skip
    assert (done.code, piece.name in done.err) == (1, True), done.err
    assert "1 backups are still encrypted" in done.err
    assert not package.verify(folder, keys=old.reads).intact


def test_a_damaged_manifest_keeps_the_former_pieces(
    server: Server, database: str, folder: Path
) -> None:
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    (manifest,) = files(folder / "backups")
    whole = manifest.read_bytes()
    back_up(server, database, folder, old.public)
    manifest.write_bytes(whole[:-1])
    report = package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    assert (report.backups, report.left, report.complete) == (1, 1, False)
    assert manifest.name in report.failures[0]
    manifest.write_bytes(whole)
    comes_back(server, database, folder, old.reads, manifest.name)
    report = package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    assert (report.backups, report.complete) == (1, True)
    comes_back(server, database, folder, new.reads, manifest.name)


def test_a_store_that_is_lost_ends_the_run(
    server: Server, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Pair(), Pair()
    back_up(server, database, folder, old.public)
    get = LocalStorage.get

    def lost(storage: LocalStorage, key: str, start: int = 0, length: int | None = None) -> bytes:
        if key.startswith("pieces"):
            raise RemoteStorageError("it cannot be reached")
        return get(storage, key, start, length)

    with monkeypatch.context() as while_lost:
        while_lost.setattr(LocalStorage, "get", lost)
        with pytest.raises(RemoteStorageError, match="cannot be reached"):
            package.rekey(folder, Keys(recipients=[new.public]), keys=old.reads)
    comes_back(server, database, folder, old.reads)


def test_from_a_passphrase_to_a_key(server: Server, database: str, folder: Path) -> None:
    back_up(server, database, folder, "passphrase", passphrase=PASSPHRASE)
    pair = Pair()
    package.rekey(folder, Keys(recipients=[pair.public]))
    second = back_up(server, database, folder, pair.public)
    first = next(one for one in package.list_backups(folder) if one.name != second.name)
    comes_back(server, database, folder, Keys(passphrase=PASSPHRASE), first.name)
    comes_back(server, database, folder, pair.reads, second.name)
    both = Keys(identities=[pair.secret], passphrase=PASSPHRASE)
    for name in (first.name, second.name):
        comes_back(server, database, folder, both, name)
    assert package.rekey(folder, Keys(recipients=[pair.public]), keys=both).complete
    comes_back(server, database, folder, pair.reads, first.name)


def test_encryption_that_was_taken_away(
    server: Server, database: str, folder: Path, pair: Pair
) -> None:
    back_up(server, database, folder, pair.public)
    found = description.read(LocalStorage(folder))
    assert found is not None
    open_one = msgspec.structs.replace(found, recipients=[], key="00" * 32)
    (folder / "repository.json").write_bytes(description._content(open_one))
    before = names(folder)
    with pytest.raises(UsageError, match="somebody replaced that"):
        back_up(server, database, folder)
    assert names(folder) == before


def test_a_machine_that_is_too_slow_for_a_passphrase() -> None:
    locked = age.locked("text", PASSPHRASE)
    salt = re.search(rb"-> scrypt (\S+) (\d+)", locked)
    assert salt is not None
    much = locked.replace(salt[0], b"-> scrypt " + salt[1] + b" 30")
    with pytest.raises(FormatError, match="far longer"):
        age.unlocked(much, PASSPHRASE)
    assert age.unlocked(locked, "another") is None


def test_keys_that_are_not_text(fastdump: Run, folder: Path) -> None:
    assert not age.is_recipient("age1\udcff")
    backup = ("backup", "--uri", "mongodb://localhost:1", "-f", folder, "--layout", "repository")
    done = fastdump(*backup, "--encrypt-to", b"x\xff", "--retry-for", 0)
    assert done.code == 2, done.err
    with pytest.raises(FormatError, match="not text"):
        age.locked("text", "\udcff")
    with pytest.raises(FormatError, match="not text"):
        age.unlocked(age.locked("text", PASSPHRASE), "\udcff")


def test_a_backup_that_can_read_needs_no_memory(
    fastdump: Run, server: Server, database: str, folder: Path, pair: Pair, tmp_path: Path,
    memory: Path,
) -> None:  # fmt: skip
    back_up(server, database, folder, pair.public)
    shutil.rmtree(memory)
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder,
                    "--compression", "none", "--identity", pair.file(tmp_path))  # fmt: skip
    assert (done.code, "new in the repository: 0 Bytes" in done.out) == (0, True), done.err
    shown = fastdump("list", "-f", folder)
    assert "added" not in shown.out


def test_rekeying_for_nobody(server: Server, database: str, folder: Path, pair: Pair) -> None:
    back_up(server, database, folder, pair.public)
    with pytest.raises(UsageError, match="say for whom"):
        package.rekey(folder, Keys(), keys=pair.reads)
    comes_back(server, database, folder, pair.reads)


def test_a_new_passphrase(server: Server, database: str, folder: Path) -> None:
    back_up(server, database, folder, "passphrase", passphrase="the first one")
    report = package.rekey(
        folder, Keys(recipients=["passphrase"], passphrase="the second one"),
        keys=Keys(passphrase="the first one"),
    )  # fmt: skip
    assert report.complete
    comes_back(server, database, folder, Keys(passphrase="the second one"))
    with pytest.raises(UsageError):
        package.verify(folder, keys=Keys(passphrase="neither"))
    back_up(server, database, folder, "passphrase")


def test_into_and_out_of_an_encrypted_repository(
    fastdump: Run, server: Server, database: str, folder: Path, pair: Pair, tmp_path: Path
) -> None:
    package.backup(server.uri, db=database, folder=tmp_path / "komodo")
    done = fastdump("convert", "-f", tmp_path / "komodo", "--all", "--to", folder, "--layout",
                    "repository", "--encrypt-to", pair.public)  # fmt: skip
    assert done.code == 0, done.err
    comes_back(server, database, folder, pair.reads)
    done = fastdump("convert", "-f", folder, "--to", tmp_path / "back", "--layout", "komodo",
                    "--identity", pair.file(tmp_path))  # fmt: skip
    assert done.code == 0, done.err
    comes_back(server, database, tmp_path / "back", Keys())


def test_by_hand(server: Server, database: str, folder: Path, pair: Pair, tmp_path: Path) -> None:
    age = shutil.which("age")
    if age is None:
        pytest.skip("the program age is not installed")
    back_up(server, database, folder, pair.public)
    (piece,) = files(folder / "pieces")
    opened = subprocess.run(
        [age, "-d", "-i", pair.file(tmp_path), piece], capture_output=True, check=True, timeout=60
    )
    assert b"a secret that nobody finds 17" in opened.stdout


def test_settings_hide_the_passphrase(fastdump: Run) -> None:
    shown = fastdump("config", FASTDUMP_PASSPHRASE=PASSPHRASE)
    assert shown.code == 0
    assert PASSPHRASE not in shown.out + shown.err
    assert os.environ.get("FASTDUMP_PASSPHRASE") is None
