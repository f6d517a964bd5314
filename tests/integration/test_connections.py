"""Servers with authentication and TLS switched on, and replica sets of several members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from pymongo import MongoClient

from benchmarks.shapes import insert
from fastdump.config import described
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.embedded import Mongod
from fastdump.engine import planner
from fastdump.errors import UsageError
from fastdump.model import Connection
from fastdump.mongo.client import connect
from fastdump.mongo.members import members
from tests.conftest import Mortal, Run, Server, replica_set_of

PASSWORD = "pa:ss/wo@rd"


@dataclass
class Secured:
    """A server that asks who you are, and its certificates."""

    mongod: Mongod
    folder: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.mongod.port}"

    def root(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.mongod.uri, username="root", password=PASSWORD)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    authority.issue_cert(
        "client@example.org", common_name="client"
    ).private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    (folder / "password").write_text(PASSWORD + "\n")
    arguments = [
        "--auth",
        "--tlsMode=preferTLS",
        f"--tlsCAFile={folder / 'ca.pem'}",
        f"--tlsCertificateKeyFile={folder / 'server.pem'}",
        "--tlsAllowConnectionsWithoutCertificates",
    ]
    with Mongod(arguments=arguments) as mongod:
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            # The first user may be made by nobody in particular.
            client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        found = Secured(mongod, folder)
        with found.root() as client:
            make_users(client)
        yield found


def make_users(client: MongoClient[dict[str, Any]]) -> None:
    client["source"]["c"].insert_many({"_id": n, "x": "y" * 100} for n in range(500))
    client["source"]["c"].create_index("x")
    client["people"].command(
        "createUser", "reader", pwd=PASSWORD, roles=[{"role": "read", "db": "source"}]
    )
    client["people"].command(
        "createUser", "writer", pwd=PASSWORD, roles=[{"role": "readWrite", "db": "target"}]
    )
    client.admin.command("createUser", "backup", pwd=PASSWORD, roles=["backup"])
    client.admin.command("createUser", "restorer", pwd=PASSWORD, roles=["restore"])


def tls(secured: Secured, prefix: str = "") -> list[str]:
    return [f"--{prefix}tls", f"--{prefix}tls-ca-file", str(secured.folder / "ca.pem")]


def login(secured: Secured, user: str, prefix: str = "", database: str = "people") -> list[str]:
    return [
        f"--{prefix}address", secured.address, f"--{prefix}username", user,
        f"--{prefix}password-file", str(secured.folder / "password"),
        f"--{prefix}auth-source", database,
    ]  # fmt: skip


def test_least_rights_over_tls(fastdump: Run, secured: Secured, tmp_path: Path) -> None:
    """`read` on the source, `readWrite` on the target, a private certificate authority."""
    done = fastdump(
        "backup", *login(secured, "reader"), *tls(secured), "--db", "source", "-f", tmp_path
    )
    assert done.code == 0, done.err
    restored = fastdump(
        "restore", *login(secured, "writer", "target-"), *tls(secured, "target-"),
        "--target-db", "target", "-f", tmp_path, "-y",
    )  # fmt: skip
    assert restored.code == 0, restored.err
    connection = described(secured.mongod.uri, "root", PASSWORD)
    assert differences(state(connection, "source"), state(connection, "target")) == []
    assert PASSWORD not in done.out + done.err + restored.out + restored.err


def test_the_roles_backup_and_restore(fastdump: Run, secured: Secured, tmp_path: Path) -> None:
    source = login(secured, "backup", database="admin")
    done = fastdump("backup", *source, "--layout", "archive", "-o", "all", "--users-and-roles")
    assert done.code == 0, done.err
    target = login(secured, "restorer", "target-", database="admin")
    restored = fastdump(
        "restore", *target, "-y", "--drop", tmp_path / "all", "--ns-from", "source.*", "--ns-to",
        "copied.*", "--ns-include", "source.*",
    )  # fmt: skip
    assert restored.code == 0, restored.err
    connection = described(secured.mongod.uri, "root", PASSWORD)
    assert differences(state(connection, "source"), state(connection, "copied")) == []
    merged = fastdump(
        "restore", *target, "-y", tmp_path / "all", "--ns-include", "admin.*", "--users-and-roles"
    )
    assert merged.code == 0, merged.err


def test_names_that_mongodump_has(fastdump: Run, secured: Secured, tmp_path: Path) -> None:
    done = fastdump(
        "backup", "--address", secured.address, "--username", "reader", "--password-file",
        secured.folder / "password", "--authenticationDatabase", "people",
        "--authenticationMechanism", "SCRAM-SHA-256", "--ssl", "--sslCAFile",
        secured.folder / "ca.pem", "--db", "source", "-f", tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err


def test_from_the_environment_and_a_file(fastdump: Run, secured: Secured, tmp_path: Path) -> None:
    """What mongodump's --config holds: a URI and a password."""
    uri = f"mongodb://%s@{secured.address}/%s?authSource=people"
    (tmp_path / "mongodump.yaml").write_text(
        f"uri: {uri % ('reader', 'source')}\npassword: '{PASSWORD}'\n"
    )
    done = fastdump(
        "backup", "--config", tmp_path / "mongodump.yaml", "-f", tmp_path,
        FASTDUMP_TLS="true", FASTDUMP_TLS_CA_FILE=str(secured.folder / "ca.pem"),
    )  # fmt: skip
    assert done.code == 0, done.err
    (tmp_path / "mongorestore.yaml").write_text(
        f"uri: {uri % ('writer', 'target')}\npassword: '{PASSWORD}'\n"
    )
    restored = fastdump("restore", "--config", tmp_path / "mongorestore.yaml", "-f", tmp_path, "-y")
    assert restored.code == 0, restored.err


@pytest.mark.parametrize(
    ("authority", "options", "said"),
    [
        ("stranger.pem", [], "certificate verify failed"),
        ("absent.pem", [], "invalid connection string or options"),
        ("stranger.pem", ["--tls-allow-invalid-certificates"], ""),
        ("stranger.pem", ["--tlsInsecure"], ""),
    ],
)
def test_an_authority_that_did_not_sign(
    fastdump: Run, secured: Secured, tmp_path: Path, authority: str, options: list[str], said: str
) -> None:
    done = fastdump(
        "backup", *login(secured, "reader"), "--tls", "--tls-ca-file", secured.folder / authority,
        *options, "--db", "source", "-f", tmp_path,
    )  # fmt: skip
    assert (done.code == 0) is (said == "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_switch_that_is_none(fastdump: Run, secured: Secured) -> None:
    done = fastdump("backup", "--uri", secured.mongod.uri, FASTDUMP_TLS="maybe")
    assert (done.code, "FASTDUMP_TLS is 'maybe'" in done.err) == (2, True)


@pytest.fixture(scope="module")
def set_of_three() -> Iterator[list[Mortal]]:
    with replica_set_of(3, "three", steady=True) as found:
        yield found


def uri_of(mongods: list[Mortal], options: str = "") -> str:
    """Return an address of the set, whose members are all near enough also when one is slow."""
    hosts = ",".join(one.address for one in mongods)
    return f"mongodb://{hosts}/?replicaSet=three&localThresholdMS=30000{options}"


def reads(mongod: Mongod) -> int:
    """Return how many times a server was asked for documents of the collection."""
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        found = client.admin.command("top")["totals"].get("db.c", {})
    return sum(int(found[kind]["count"]) for kind in ("queries", "getmore") if found)


@pytest.mark.parametrize(
    ("preference", "used"),
    [
        ("primary", {0}),
        ("secondary", {1, 2}),
        ("nearest", {0, 1, 2}),
        ('{mode: "secondary", tagSets: [{place: "p2"}]}', {2}),
        ('{"mode": "secondary", "maxStalenessSeconds": 120}', {1, 2}),
    ],
)
def test_who_is_read(
    set_of_three: list[Mortal],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    preference: str,
    used: set[int],
) -> None:
    import fastdump as api

    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    connection = replace(described(uri_of(set_of_three)), read_preference=preference)
    fill_and_wait(set_of_three)
    chosen = [one.member for one in members(connection)]
    addresses = {set_of_three[n].address for n in used}
    assert set(chosen) == ({None} if used == {0} else addresses)
    before = [reads(one) for one in set_of_three]
    report = api.backup(
        api.Server(connection.uri, read_preference=preference), db="db", folder=tmp_path, workers=3
    )
    assert report.documents == 5000
    assert api.verify(tmp_path).intact
    read = {n for n, one in enumerate(set_of_three) if reads(one) > before[n]}
    assert read == used


def fill_and_wait(mongods: list[Mortal]) -> None:
    """Have documents on all three."""
    with MongoClient[dict[str, Any]](uri_of(mongods), w=3) as client:
        if client["db"]["c"].estimated_document_count() == 0:
            insert(described(uri_of(mongods, "&w=3")), "db", "c", (
                {"_id": n, "p": "x" * 300} for n in range(5000)))  # fmt: skip
            client["db"]["done"].insert_one({"_id": 1})
            client["db"]["done"].drop()


def test_the_preference_of_the_uri(set_of_three: list[Mortal]) -> None:
    connection: Connection = described(uri_of(set_of_three, "&readPreference=secondary"))
    assert len(members(connection)) == 2


def test_a_client_certificate(fastdump: Run, secured: Secured, tmp_path: Path) -> None:
    """A server that lets nobody in without one."""
    arguments = [
        "--tlsMode=preferTLS",
        f"--tlsCAFile={secured.folder / 'ca.pem'}",
        f"--tlsCertificateKeyFile={secured.folder / 'server.pem'}",
    ]
    with Mongod(arguments=arguments) as mongod:
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            client["db"]["c"].insert_one({"_id": 1})
        source = ("--uri", f"mongodb://localhost:{mongod.port}/?serverSelectionTimeoutMS=2000",
                  "--db", "db", "-f", tmp_path, *tls(secured))  # fmt: skip
        refused = fastdump("backup", *source)
        assert (refused.code, "Traceback" in refused.err) == (3, False)
        done = fastdump("backup", *source, "--sslPEMKeyFile", secured.folder / "client.pem")
        assert done.code == 0, done.err


def test_what_the_driver_leaves_out_without_harm_is_a_note(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    """It is said once, not by each of the processes."""
    database = server.new_database()
    generate(server.connection, database, 80_000_000)
    options = "compressors=snappy,zlib&j=true&gssapiServiceName=x"
    done = fastdump(
        "backup", "--uri", f"{server.uri}&{options}", "--db", database, "-f", tmp_path / "b",
        "-j", 2,
    )  # fmt: skip
    assert done.code == 0, done.err
    for told in (
        "snappy is not available",
        "the option j is unknown, and is ignored",
        "the option gssapiServiceName is unknown, and is ignored",
    ):
        assert done.err.count(told) == 1
    assert "Warning" not in done.err
    with server.client() as client:
        network = client.admin.command("serverStatus")["network"]
        assert network["compression"]["zlib"]["compressor"]["bytesIn"] > 50_000_000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("tls=maybe", "the option tls: The value of tls must be 'true' or 'false'"),
        ("a=1;tls=maybe", "the option tls: "),
        ("journal=maybe", "the option journal: "),
        ("zlibCompressionLevel=77", "the option zlibCompressionLevel: "),
        ("tls=true&tls=false", "the option tls occurs twice, with different values"),
        ("tlsEnabled=true", "the option tlsEnabled is unknown, and without it"),
        ("ssl_ca_certs=x", "the option ssl_ca_certs is unknown, and without it"),
    ],
)
def test_what_it_leaves_out_with_harm_is_an_error(options: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        connect(described(f"mongodb://user:secret@127.0.0.1:1/?{options}"))
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://one.cluster.docdb.amazonaws.com/?tls=true",
        "mongodb://one.mongo.cosmos.azure.com:10255/?tls=true&replicaSet=globaldb",
        "mongodb://127.0.0.1/?readPreferenceTags=a:b&readPreferenceTags=c:d&readPreference=nearest",
        "mongodb://127.0.0.1/?compressors=snappy,nosuch&nosuch=1",
    ],
)
def test_what_the_driver_warns_of_is_no_error(uri: str) -> None:
    """As that a host is not of MongoDB, Inc."""
    connection = described(uri)
    connect(connection).close()
    connect(replace(connection, member="127.0.0.1:1")).close()
