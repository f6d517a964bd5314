"""A bank whose books are correct at every single moment, but hardly ever in a mix of moments.

It has a thousand accounts in four collections, which fastdump reads in different ways. Each
transaction moves money between two accounts, sometimes closes one or opens another, counts the move
in both accounts, and then in a counter. `python -m tests.bank URI DATABASE SEED` runs one customer.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pymongo import MongoClient, WriteConcern
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError

from benchmarks.features import features_of

ACCOUNTS = 1000
BALANCE = 100
CUSTOMERS = 3
PAPER = "x" * 4000
"""Filler that makes a collection of accounts large enough to be cut into chunks."""

Bank = Database[dict[str, Any]]


def found(bank: Bank) -> None:
    """Open the bank."""
    # The collections are read by ranges of _id (clustered), by record ids (records), by record ids
    # in another order than that of _ids (random), and whole (whole).
    if "clustered collections" in features_of(bank.client):
        bank.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True})
    each = ACCOUNTS // 4
    for name in ("clustered", "records", "random"):
        bank[name].insert_many(
            {"_id": _identity(name, n), "balance": BALANCE, "moves": 0, "paper": PAPER}
            for n in range(each)
        )
    bank["whole"].insert_many({"_id": n, "balance": BALANCE, "moves": 0} for n in range(each))
    bank["counter"].insert_one({"_id": "moves", "n": 0})


def _identity(name: str, number: int) -> object:
    return str(uuid.uuid4()) if name == "random" else number


def errors(bank: Bank) -> list[str]:
    """Return the errors in the books; none if all documents are of one moment."""
    balance = moves = 0
    for name in ("clustered", "records", "random", "whole"):
        for account in bank[name].find({}, {"balance": 1, "moves": 1}):
            balance += account["balance"]
            moves += account["moves"]
    counter = bank["counter"].find_one()
    assert counter is not None
    wrong = []
    if balance != ACCOUNTS * BALANCE:
        wrong.append(f"the balance is {balance}")
    if moves != 2 * counter["n"]:
        wrong.append(f"the accounts moved {moves} times, the counter says {counter['n']}")
    return wrong


@contextmanager
def customers(uri: str, database: str) -> Iterator[None]:
    """Run several customers at once until the end of the context."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bank", uri, database, str(random.getrandbits(32))]
        )
        for _customer in range(CUSTOMERS)
    ]
    try:
        yield
        assert [one.poll() for one in running] == [None] * CUSTOMERS
    finally:
        for one in running:
            one.terminate()
            one.wait()
        # An unfinished transaction of a customer would keep its locks for a minute.
        with suppress(PyMongoError), MongoClient[dict[str, Any]](uri) as client:
            client.admin.command({"killAllSessions": []})


def _move(bank: Bank, chance: random.Random, session: ClientSession) -> None:
    names = ("clustered", "records", "random", "whole")
    source, target = chance.choice(names), chance.choice(names)
    one = _account(bank, source, chance, session)
    other = _account(bank, target, chance, session)
    if one["_id"] == other["_id"]:
        return
    amount = chance.randint(1, 20)
    match chance.randrange(10):
        case 0:  # close the account, and move the rest of its money
            bank[source].delete_one({"_id": one["_id"]}, session=session)
            _change(bank, target, other, one["balance"], one["moves"] + 2, session)
        case 1:  # open an account with money from another
            identity = _identity(target, chance.getrandbits(40))
            opened = {"_id": identity, "balance": amount, "moves": 1, "paper": PAPER}
            bank[target].insert_one(opened, session=session)
            _change(bank, source, one, -amount, 1, session)
        case _:
            _change(bank, source, one, -amount, 1, session)
            _change(bank, target, other, amount, 1, session)
    bank["counter"].update_one({"_id": "moves"}, {"$inc": {"n": 1}}, session=session)


def _account(
    bank: Bank, name: str, chance: random.Random, session: ClientSession
) -> dict[str, Any]:
    query = (
        {"_id": {"$gte": str(uuid.UUID(int=chance.getrandbits(128)))}} if name == "random" else {}
    )
    skip = 0 if query else chance.randrange(50)
    chosen = bank[name].find_one(query, {"paper": 0}, skip=skip, session=session)
    return chosen or bank[name].find_one({}, {"paper": 0}, session=session) or {}


def _change(
    bank: Bank, name: str, account: dict[str, Any], amount: int, moves: int, session: ClientSession
) -> None:
    bank[name].update_one(
        {"_id": account["_id"]}, {"$inc": {"balance": amount, "moves": moves}}, session=session
    )


def main(uri: str, database: str, seed: str) -> None:
    """Move money until terminated by a signal, which ends the transaction and frees its locks."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    chance = random.Random(int(seed))
    with MongoClient[dict[str, Any]](uri) as client, client.start_session() as session:
        while True:
            session.with_transaction(
                lambda one: _move(client[database], chance, one),
                write_concern=WriteConcern(1),
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
