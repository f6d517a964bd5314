"""Unlock a server that a killed backup left locked.

A backup with --consistency lock releases its lock, unless the whole machine or
container was killed. If a running backup or another program holds the lock,
you are asked before it is released.
"""

from __future__ import annotations

import argparse

from fastdump.cli.asking import asked_connection, confirm
from fastdump.cli.options import add_rare, add_security, add_server, add_yes
from fastdump.config import SOURCE, Settings

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump unlock --uri mongodb://localhost:27017"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `unlock`."""
    add_server(parser, SOURCE)
    add_yes(parser)
    add_rare(parser, "retry-for")
    add_security(parser, SOURCE)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.mongo import fsync_lock
    from fastdump.mongo.client import connect, translated

    connection = asked_connection(settings, SOURCE)
    with connect(connection) as client, translated(connection):
        fsync_lock.refuse_mongos(client, connection)
        found = fsync_lock.holders(client)
        if not fsync_lock.is_locked(client):
            print(f"{connection.shown} is not locked")
            return 0
        if any(holder.alive for holder in found):
            confirm(
                f"A running backup keeps {connection.shown} locked. Unlock it?", yes=options.yes
            )
        elif not found:
            confirm(f"Somebody else locked {connection.shown}. Unlock it?", yes=options.yes)
        for holder in found:
            fsync_lock.release(client, holder)
        if not found:
            fsync_lock.unlock(client)
        if fsync_lock.is_locked(client):
            print(
                f"one lock of {connection.shown} is released, but the server has another: run the "
                "command again to release that too"
            )
            return 1
    print(f"{connection.shown} is unlocked")
    return 0
