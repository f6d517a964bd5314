"""Each mistake gets one sentence that says what to do, the right exit code, and no traceback."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest

from benchmarks.shapes import insert
from fastdump.embedded import Mongod
from tests.conftest import Outcome, Run, Server, listed
from tests.proxy import WireProxy

CANARY = "canary-pa55word"


def complains(done: Outcome, code: int, *said: str) -> None:
    """One line on standard error, which says this, and nothing else."""
    assert "Traceback" not in done.err
    assert done.code == code, done.err
    complaint = [line for line in done.err.splitlines() if line.startswith("fastdump:")]
    assert len(complaint) == 1, done.err
    for text in said:
        assert text in complaint[0]


@pytest.fixture
def backed_up(fastdump: Run, server: Server, tmp_path: Path) -> Path:
    """A folder with one backup of collections `c` and `d`."""
    database, folder = server.new_database(), tmp_path / "backups"
    for name in ("c", "d"):
        insert(server.connection, database, name, ({"_id": n, "x": n} for n in range(2000)))
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder)
    assert done.code == 0
    return listed(folder)[0]


def restore(fastdump: Run, server: Server, backup: Path, *options: object) -> Outcome:
    target = server.new_database()
    return fastdump(
        "restore", "--target-uri", server.uri, "--target-db", target, "-y", "-q", backup, *options
    )


def test_an_unreachable_server(fastdump: Run, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = (
            f"mongodb://u:{CANARY}@127.0.0.1:{probe.getsockname()[1]}/?serverSelectionTimeoutMS=300"
        )
        for arguments in (["backup", "--uri"], ["restore", "-y", "--target-uri"]):
            (tmp_path / "2020-01-01_00-00-00").mkdir(exist_ok=True)
            done = fastdump(*arguments, uri, "-f", tmp_path)
            complains(done, 3, "no server answers at 127.0.0.1")
            assert CANARY not in done.err + done.out


def test_a_missing_database_names_those_that_there_are(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    insert(server.connection, "present", "c", [{"_id": 1}])
    done = fastdump("backup", "--uri", server.uri, "--db", "absent", "-f", tmp_path)
    complains(done, 2, "'absent'", "--db", "present")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup", "--max-backups", "many", "--address", "h"], "--max-backups is 'many'"),
        (["backup", "--workers", "0", "--address", "h"], "--workers is '0'"),
        (["backup", "--level", "9", "--address", "h"], "at most 3"),
        (["backup", "--progress", "loud", "--address", "h"], "one of auto"),
        (["backup", "--uri", "mongodb://h", "--address", "h"], "leave one out"),
        (["backup"], "--uri"),
        (["restore"], "--target-uri"),
        (["backup", "--uri", "localhost"], "mongodb://host"),
        (["backup", "--uri", "mongodb://h/?w=x&nosuch=1&tls=maybe"], "invalid connection string"),
        (["backup", "--address", "h", "--username", "u"], "no password"),
        (["backup", "--address", "h", "--db", "a/b"], "name of a database"),
        (["prune", "--max-backups", "-3"], "at least 0"),
    ],
)
def test_wrong_options(fastdump: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    complains(fastdump(*arguments, "-f", tmp_path), 2, said)


def test_a_number_in_the_environment_that_is_none(fastdump: Run) -> None:
    done = fastdump("backup", "--address", "h", KOMODO_CLI_MAX_BACKUPS="few")
    complains(done, 2, "KOMODO_CLI_MAX_BACKUPS is 'few'")


def test_unknown_options_and_both_ways_to_name_a_backup(fastdump: Run) -> None:
    assert fastdump("backup", "--nonsense").code == 2
    assert fastdump("nonsense").code == 2
    assert fastdump("verify", "-r", "x", "y").code == 2


def test_no_such_folder_or_backup(
    fastdump: Run, server: Server, backed_up: Path, tmp_path: Path
) -> None:
    complains(fastdump("list", "-f", tmp_path / "absent"), 1, "does not exist")
    complains(fastdump("verify", "-f", tmp_path / "absent"), 1, "does not exist")
    (tmp_path / "empty").mkdir()
    complains(fastdump("verify", "-f", tmp_path / "empty"), 4, "no complete backup")
    complains(
        fastdump("verify", "-f", backed_up.parent, "-r", "2001-01-01_00-00-00"), 4, "fastdump list"
    )
    complains(restore(fastdump, server, tmp_path / "nowhere"), 4, "no such backup")


@pytest.mark.parametrize("command", ["list", "verify", "prune", "restore"])
def test_a_name_that_no_file_system_takes(fastdump: Run, command: str) -> None:
    more = ["--target-uri", "mongodb://localhost:1"] if command == "restore" else []
    done = fastdump(command, "-f", f"/tmp/{'a' * 300}", *more)
    assert (done.code, "File name too long" in done.err) == (1, True), done.err


def test_a_folder_that_cannot_be_written(fastdump: Run, server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    (tmp_path / "file").write_text("")
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "file" / "x")
    complains(done, 1, "not a folder")


def test_a_restore_needs_a_yes(fastdump: Run, server: Server, backed_up: Path) -> None:
    target = server.new_database()
    arguments = ("--target-uri", server.uri, "--target-db", target, "-q", backed_up)
    complains(fastdump("restore", *arguments), 2, "-y")
    with server.client() as client:
        assert client[target].list_collection_names() == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "missing"),
        (cut, "were written"),
        (flip, "inflated|CRC|promises"),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "not a gzip file"),
        (lambda path: path.write_bytes(b""), "were written"),
    ],
)
def test_damage(fastdump: Run, server: Server, backed_up: Path, damage: object, said: str) -> None:
    assert callable(damage)
    damage(backed_up / "c.gz")
    verified = fastdump("verify", "-f", backed_up.parent, "-q")
    assert verified.code == 4
    assert "Traceback" not in verified.err
    assert any(word in verified.err for word in said.split("|"))
    assert "c.gz" in verified.err
    assert "d.gz" not in verified.err
    restored = restore(fastdump, server, backed_up)
    # What nobody can see before reading costs only itself; the rest is restored.
    if damage is flip:
        assert (restored.code, "c.gz" in restored.err) == (1, True)
    else:
        complains(restored, 4, "c.gz")
    assert any(word in restored.err for word in said.split("|"))


def test_a_foreign_file_in_place_of_a_collection(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    backup = tmp_path / "2020-01-01_00-00-00"
    backup.mkdir()
    (backup / "c.gz").write_bytes(gzip.compress(bson.encode({"_id": 1})[:-3]))
    done = restore(fastdump, server, backup)
    assert (done.code, "c.gz: the document at byte 0 is cut" in done.err) == (1, True)
    (backup / "c.gz").write_bytes(gzip.compress(b"no BSON at all, but text"))
    done = restore(fastdump, server, backup)
    assert done.code == 1
    assert "c.gz: not a valid document" in done.err
    (backup / "c.gz").write_bytes(b"plain text")
    complains(restore(fastdump, server, backup), 4, "not a gzip file")


def test_a_hostile_manifest(fastdump: Run, server: Server, backed_up: Path) -> None:
    manifest = backed_up / "manifest.json"
    original = json.loads(manifest.read_text())

    def write(**fields: object) -> None:
        changed = [{**entry, **fields} for entry in original["collections"]]
        manifest.write_text(json.dumps({**original, "collections": changed}))

    # From before definitions were kept as BSON too.
    write(bson=None, options={"a": {"$oid": "zz"}})
    complains(restore(fastdump, server, backed_up), 4, "manifest.json: was changed after")
    complains(restore(fastdump, server, backed_up, "--salvage"), 4, "the definition of ")
    write(bson={"options": "BQAAAAE=", "indexes": []})
    complains(restore(fastdump, server, backed_up, "--salvage"), 4, "the definition of ")
    evil = bson.encode({"create": "evil", "$db": "x"})
    write(bson={"options": b64encode(evil).decode(), "indexes": []})
    done = restore(fastdump, server, backed_up, "--salvage")
    assert (done.code, "manifest.json: was changed after" in done.err) == (1, True)
    with server.client() as client:
        assert "x" not in client.list_database_names()
        for name in client.list_database_names():
            assert "evil" not in client[name].list_collection_names()


def test_a_damaged_manifest_is_not_taken_for_none(
    fastdump: Run, server: Server, backed_up: Path
) -> None:
    """Without it the documents would come back without options and indexes."""
    manifest = backed_up / "manifest.json"
    original = manifest.read_bytes()
    for content in (original[:-20], original.replace(b'"documents"', b'"d0cuments"'), b"{}", b""):
        manifest.write_bytes(content)
        complains(restore(fastdump, server, backed_up), 4, "manifest.json: ", "--salvage")
        done = restore(fastdump, server, backed_up, "--salvage")
        assert (done.code, "manifest.json: " in done.err) == (1, True), done.err
    manifest.write_bytes(original)
    assert restore(fastdump, server, backed_up).code == 0


@pytest.fixture(scope="module")
def locked() -> Iterator[Mongod]:
    """A server with authentication, whose user `backup` has a password to look for."""
    with Mongod(arguments=["--auth"]) as mongod:
        # A server without users lets the first one be made from the same machine.
        with Server(mongod.uri).client() as client:
            client.admin.command({"createUser": "backup", "pwd": CANARY, "roles": ["root"]})
        yield mongod


def test_a_wrong_password(fastdump: Run, locked: Mongod, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{CANARY}-wrong")
    done = fastdump(
        "backup", "--address", locked.address, "--username", "backup", "--password-file", wrong,
        "-f", tmp_path / "b",
    )  # fmt: skip
    complains(done, 3, "password")
    assert CANARY not in done.err + done.out
    done = fastdump("backup", "--address", locked.address, "-f", tmp_path / "b")
    complains(done, 3, "no right")


def test_the_password_appears_nowhere(fastdump: Run, locked: Mongod, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "b"
    secret.write_text(f"{CANARY}\n")
    uri = f"mongodb://backup:{CANARY}@{locked.address}/?authSource=admin&directConnection=true"
    with Server(uri).client() as client:
        client["big"]["c"].insert_many({"_id": n, "x": "y" * 1000} for n in range(90_000))
    seen: list[str] = []
    options = ("--db", "big", "-f", folder, "-j", "2")
    by_file = ("--address", locked.address, "--username", "backup", "--password-file", secret)
    for source in (by_file, ("--uri", uri)):
        arguments = [sys.executable, "-m", "fastdump", "backup", *map(str, (*source, *options))]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None:
            seen += process_list(but=process.pid if source[0] == "--uri" else 0)
        assert process.stdout is not None
        seen.append(process.stdout.read().decode())
        assert process.returncode == 0, seen[-1]
        assert "is complete" in seen[-1]
    done = fastdump("restore", "--target-uri", uri, "--target-db", "copy", "-f", folder, "-y")
    assert done.code == 0, done.err
    seen += [done.out, done.err]
    seen += [path.read_text() for path in folder.rglob("*.json")]
    assert any("forkserver" in text for text in seen)
    assert not [text for text in seen if CANARY in text]


def process_list(*, but: int) -> list[str]:
    """The command lines of all processes; `but` one, which shows its own until it hides it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != but:
                found.append((folder / "cmdline").read_bytes().decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_password_typed_into_a_uri_is_hidden_from_the_process_list(
    locked: Mongod, tmp_path: Path
) -> None:
    uri = f"mongodb://backup:{CANARY}@10.255.255.1/?serverSelectionTimeoutMS=20000"
    process = subprocess.Popen(
        [sys.executable, "-m", "fastdump", "backup", "--uri", uri, "-f", str(tmp_path)],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _attempt in range(200):
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            if CANARY.encode() not in shown and shown:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert b"fastdump backup" in shown
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "raw", ["cana/ry@%s", "cana@ry@%s", "cana:ry@%s", "cana?ry@%s", "cana%%ry@%s"]
)
def test_a_raw_password_is_refused_and_not_shown(
    fastdump: Run, server: Server, tmp_path: Path, raw: str
) -> None:
    address = raw % server.uri.removeprefix("mongodb://").replace("/?", "/db?")
    uri = f"mongodb://us:{address}"
    secret = tmp_path / "uri"
    secret.write_text(uri)
    commands = [
        ("config", "--uri", uri),
        ("backup", "--uri", uri, "-f", tmp_path),
        ("backup", "--address", f"us:{address}", "-f", tmp_path),
        ("restore", "--target-uri", uri, "-y", tmp_path),
        ("copy", "--uri", server.uri, "--target-uri", uri, "-y"),
        ("verify", "-f", tmp_path, "--against", "--uri", uri),
        ("unlock", "--uri", uri),
    ]
    ended = [fastdump(*command) for command in commands]
    for command in ("config", "backup"):
        ended.append(fastdump(command, KOMODO_DATABASE_URI=uri))
        ended.append(fastdump(command, KOMODO_DATABASE_URI_FILE=str(secret)))
    for done in ended:
        complains(done, 2, "must be percent-encoded")
        for part in ("cana", "ry@", server.uri):
            assert part not in done.out + done.err


def test_a_password_of_harmless_characters_needs_no_encoding(
    fastdump: Run, locked: Mongod, tmp_path: Path
) -> None:
    with Server(f"mongodb://backup:{CANARY}@{locked.address}/").client() as client:
        client.admin.command({"createUser": "odd", "pwd": "a#b[c]&d=e;,!", "roles": ["root"]})
        client["odd"]["c"].insert_one({"_id": 1})
    uri = f"mongodb://odd:a#b[c]&d=e;,!@{locked.address}/odd?authSource=admin"
    done = fastdump("backup", "--uri", uri, "-f", tmp_path)
    assert done.code == 0, done.err
    assert "a#b" not in fastdump("config", "--uri", uri).out


@pytest.mark.parametrize("family", ["unix", "ipv6"])
def test_a_socket_and_an_address_of_ipv6(
    fastdump: Run, server: Server, tmp_path: Path, family: str
) -> None:
    name = f"{tmp_path}/mongodb-27017.sock"
    listener = socket.socket(socket.AF_UNIX)
    try:
        if family == "unix":
            listener.bind(name)
            listener.listen()
        else:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with WireProxy(server.uri, listener) as proxy:
        address = name if family == "unix" else f"[::1]:{listener.getsockname()[1]}"
        database = server.new_database()
        with server.client() as client:
            client[database]["c"].insert_one({"_id": 1})
        done = fastdump("backup", "--address", address, "--db", database, "-f", tmp_path / "b")
        assert done.code == 0, done.err
        done = fastdump(
            "restore", "-y", "-f", tmp_path / "b", "--target-db", server.new_database(),
            KOMODO_CLI_DATABASE_TARGET_ADDRESS=address,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert address in done.out
        assert proxy.seen["insert"]


def test_a_write_concern_that_asks_for_no_answer(
    fastdump: Run, server: Server, backed_up: Path
) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1})
    for options in (
        ("--target-uri", server.uri, "--write-concern", "0"),
        ("--target-uri", f"{server.uri}&w=0"),
    ):
        done = fastdump("restore", *options, "--target-db", target, "-y", backed_up)
        complains(done, 2, "write concern 0 is not possible")
        source = ("--uri", server.uri, "--db", database)
        done = fastdump("copy", *source, *options, "--target-db", target, "-y")
        complains(done, 2, "write concern 0 is not possible")
    with server.client() as client:
        assert target not in client.list_database_names()
