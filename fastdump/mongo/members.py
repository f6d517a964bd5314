"""The members of a replica set that share the reading, as the read preference allows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from pymongo import ReadPreference
from pymongo.errors import ConfigurationError
from pymongo.read_preferences import make_read_preference, read_pref_mode_from_name

from fastdump.errors import UsageError
from fastdump.model import Connection
from fastdump.mongo.client import MONGOS, Client, connect, first_answer, translated
from fastdump.mongo.replica import check_usable

__all__ = ["members"]

_TURNS = 32
"""Number of times that the driver is asked for a member."""

_ACQUAINTANCE_SECONDS = 2


def members(connection: Connection) -> tuple[Connection, ...]:
    """Return the servers that the read preference allows; several only in a replica set.

    The driver chooses anew for each command among all members that are near enough, so it is asked
    often enough to name every one of them.

    Raises:
        ServerError: no server answers or fits the preference, or the server should be in a replica
            set and is not.
        UsageError: the preference is malformed or not possible, or the server is an arbiter.
    """
    with connect(connection) as client, translated(connection):
        preference = _preference(connection.read_preference, client)
        is_primary = preference.mode == ReadPreference.PRIMARY.mode
        hello = (
            first_answer(client, connection)
            if is_primary
            else client.admin.command("hello", read_preference=preference)
        )
        check_usable(client, connection.shown, hello)
        if is_primary:
            return (connection,)
        if hello.get("msg") == MONGOS:
            raise UsageError(
                "--read-preference cannot be used with mongos, which chooses the members itself: "
                "leave it out"
            )
        if "me" not in hello:
            return (connection,)
        _wait_for_all(client)
        found = {hello["me"]}
        for _turn in range(_TURNS):
            found.add(client.admin.command("hello", read_preference=preference)["me"])
    return tuple(replace(connection, member=host) for host in sorted(found))


def _wait_for_all(client: Client) -> None:
    """Wait a moment until the driver knows the state of each member of a replica set.

    It answers as soon as it knows one member; on a busy machine the others take longer.
    """
    deadline = time.monotonic() + _ACQUAINTANCE_SECONDS
    while time.monotonic() < deadline:
        known = client.topology_description.server_descriptions().values()
        if all(one.server_type_name != "Unknown" or one.error is not None for one in known):
            return
        time.sleep(0.01)


def _preference(text: str | None, client: Client) -> Any:
    if text is None:
        return client.read_preference
    described: dict[str, Any] = {"mode": text}
    if text.lstrip().startswith("{"):
        import yaml  # mongodump's help leaves the quotes out, as YAML does

        try:
            described = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"invalid read preference {text}: it is not a JSON object") from None
    try:
        mode = read_pref_mode_from_name(described["mode"])
        return make_read_preference(
            mode,
            described.get("tagSets"),
            described.get("maxStalenessSeconds", -1),
        )
    except (KeyError, AttributeError, TypeError, ValueError, ConfigurationError) as error:
        raise UsageError(f"invalid read preference {text}: {error}") from None
