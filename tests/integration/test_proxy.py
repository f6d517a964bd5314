"""The proxy of the tests: what it does to a real server's protocol, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from benchmarks.shapes import hurtful
from fastdump.demo.compare import differences, state
from tests.conftest import Run, Server
from tests.proxy import CutError, Document, Forward, WireProxy, without


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


def test_what_nobody_asked_about_passes(
    proxy: WireProxy, any_server: Server, fastdump: Run, tmp_path: Path
) -> None:
    name, restored = any_server.new_database(), any_server.new_database()
    hurtful(any_server.connection, name)
    outcome = fastdump("backup", "--uri", proxy.uri, "--db", name, "-f", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    outcome = fastdump(
        "restore", "--target-uri", proxy.uri, "--target-db", restored, "-f", tmp_path / "b", "-y"
    )
    assert outcome.code == 0, outcome.err
    assert proxy.seen["find"] > 0
    assert proxy.seen["insert"] > 0
    before, after = (state(any_server.connection, one) for one in (name, restored))
    assert differences(before, after) == []


def test_requests_and_replies_change(proxy: WireProxy, any_server: Server) -> None:
    name = any_server.new_database()
    with MongoClient[Document](proxy.uri) as client:
        client[name].c.insert_many({"_id": number} for number in range(10))
        proxy.around("find", lambda command, forward: forward(without(command, "filter")))
        assert len(list(client[name].c.find({"_id": 3}))) == 10

        def hide(command: Document, forward: Forward) -> Document:
            reply = forward(command)
            cursor = dict(reply["cursor"])
            return {**reply, "cursor": {**cursor, "firstBatch": cursor["firstBatch"][4:]}}

        proxy.around("find", hide)
        assert [one["_id"] for one in client[name].c.find({"_id": 3})] == [4, 5, 6, 7, 8, 9]


def test_a_greeting_can_be_changed(proxy: WireProxy) -> None:
    proxy.around(
        "hello",
        lambda command, forward: {**without(forward(command), "setName"), "msg": "isdbgrid"},
    )
    with MongoClient[Document](proxy.uri) as client:
        assert client.admin.command("hello")["msg"] == "isdbgrid"
        assert client.is_mongos


def test_refusals_and_cuts(proxy: WireProxy) -> None:
    proxy.refuse("ping", 462, "too busy", "RetryableError", times=1)
    with MongoClient[Document](proxy.uri, retryReads=False) as client:
        with pytest.raises(OperationFailure) as raised:
            client.admin.command("ping")
        assert raised.value.code == 462
        assert raised.value.has_error_label("RetryableError")
        client.admin.command("ping")

        def cut(_command: Document, _forward: Forward) -> Document:
            raise CutError

        proxy.around("ping", cut)
        with pytest.raises(AutoReconnect):
            client.admin.command("ping")
