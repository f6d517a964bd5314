"""Compare fastdump with other tools on this machine, in one run: `scripts/bench`.

The measurements are paired: in each round every tool does the same work once, after a warm-up round
that does not count. No time is asserted; the results go to one JSON file, and `benchmarks.charts`
draws them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import consistency, repositories
from benchmarks.charts import draw, tell
from benchmarks.generate import fill, fill_many
from benchmarks.measure import Measurement, folder_bytes, measure
from benchmarks.relay import far
from benchmarks.tools import (
    Tools,
    backup_commands,
    fastdump_backup,
    fastdump_restore,
    restore_commands,
    versions,
)
from fastdump.config import described
from fastdump.embedded import Mongod
from fastdump.mongo.client import connect

__all__ = ["main"]

SECTIONS = (
    "backup", "restore", "many", "distance", "growth", "workers", "consistency", "repository",
)  # fmt: skip
_OF_OTHERS = ("backup", "restore", "many")
"""The sections that a server can have that is given by its URI."""

# Megabytes of documents. `random-ids` is four times the server's cache of 0.25 GB.
_FULL = {
    "komodo": 1309, "tiny": 200, "huge": 800, "random-ids": 1100, "incompressible": 500, "small": 1,
}  # fmt: skip
_QUICK = {"komodo": 80, "tiny": 10, "small": 1}
_GROWTH = (1, 2, 4, 8)
_WORKERS = (1, 2, 3, 4)
_MANY = (500, 2000, 5000)
"""Numbers of collections."""
_ROUND_TRIPS = (1, 10, 40)
"""Round trips in milliseconds."""


@dataclass(frozen=True)
class Server:
    """The server that is measured."""

    uri: str
    about: str
    pid: int | None = None
    """Its process, if it is one of ours."""
    port: int = 0


@dataclass
class Bench:
    """One run of the benchmark."""

    server: Server
    tools: Tools
    folder: Path
    rounds: int
    sizes: dict[str, int]
    quick: bool
    out: Path
    results: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with connect(described(self.server.uri)) as client:
            version = client.server_info()["version"]
        self.about = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "server": self.server.about.format(version=version),
            "versions": versions(self.tools),
            "left out": self.tools.missing,
            "sizes": self.sizes,
            "rounds": self.rounds,
        }

    def run(self, sections: list[str]) -> None:
        """Run some sections."""
        if "backup" in sections:
            for data in self.sizes:
                self._backups(data)
        if "restore" in sections:
            self._restores()
        if "many" in sections:
            self._many()
        if "distance" in sections:
            self._distance()
        if "growth" in sections:
            self._growth()
        if "workers" in sections:
            self._workers()
        if "consistency" in sections:
            self._consistency()
        if "repository" in sections:
            self._repository()

    def _backups(self, data: str) -> None:
        self._fill(data, data)
        out = self.folder / "out"
        commands = backup_commands(
            self.tools, self.server.uri, data, out, others=data in ("komodo", "small")
        )
        for number in self._numbers():
            for tool, command in commands.items():
                if (data, tool) == ("komodo", "plain script") and number != 1:
                    continue  # takes minutes: once is enough
                self._measure("backup", data, tool, number, command, out)
                shutil.rmtree(out)
        if data != "komodo":
            self._drop(data)

    def _restores(self) -> None:
        data, backup, dump = "komodo", self.folder / "backup", self.folder / "dump"
        self._fill(data, data)
        measure(fastdump_backup(self.server.uri, data, backup), self.server.pid)
        if self.tools.mongodump:
            commands = backup_commands(self.tools, self.server.uri, data, dump, others=False)
            measure(commands["mongodump --gzip"], self.server.pid)
            archived = backup_commands(self.tools, self.server.uri, data, dump, others=True)
            measure(archived["mongodump --gzip --archive"], self.server.pid)
        for number in self._numbers():
            commands = restore_commands(self.tools, self.server.uri, data, "restored", backup, dump)
            for tool, command in commands.items():
                self._measure("restore", data, tool, number, command)
                if "," not in tool:
                    self._measure("restore again", data, tool, number, command)
                self._drop("restored")

    def _many(self) -> None:
        for count in _MANY[:1] if self.quick else _MANY:
            database = f"many_{count}"
            fill_many(described(self.server.uri), database, count)
            self._all_tools("many", f"{count}", database, self.server.uri, own=self.server.uri)
            self._drop(database)

    def _distance(self) -> None:
        self._fill("komodo", "komodo")
        for milliseconds in _ROUND_TRIPS[-1:] if self.quick else _ROUND_TRIPS:
            with far(self.server.port, milliseconds / 1000) as port:
                uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
                own = self.server.uri
                self._all_tools("distance", f"{milliseconds}", "komodo", uri, own=own)

    def _all_tools(self, section: str, data: str, database: str, uri: str, *, own: str) -> None:
        """Measure a backup and a restore of a database by each tool, through an address.

        Args:
            section: the section of the results.
            data: the name of this measurement.
            database: the database.
            uri: the address to measure.
            own: the server's own address, for what is not measured.
        """
        backup, dump, out = (self.folder / name for name in ("own", "dump", "out"))
        measure(fastdump_backup(own, database, backup), self.server.pid)
        if self.tools.mongodump:
            given = backup_commands(self.tools, own, database, dump, others=False)
            measure(given["mongodump --gzip"], self.server.pid)
        for number in self._numbers():
            backups = backup_commands(self.tools, uri, database, out, others=False)
            for tool, command in backups.items():
                self._measure(f"{section}, backup", data, tool, number, command, out)
                shutil.rmtree(out)
            restores = restore_commands(self.tools, uri, database, "restored", backup, dump)
            for tool, command in restores.items():
                if "archive" not in tool and "," not in tool.removesuffix(", 4 workers"):
                    self._measure(f"{section}, restore", data, tool, number, command)
                    self._drop("restored")
        shutil.rmtree(backup)
        shutil.rmtree(dump, ignore_errors=True)

    def _growth(self) -> None:
        for factor in _GROWTH[:2] if self.quick else _GROWTH:
            data = f"komodo x{factor}"
            database = f"komodo_{factor}"
            self._fill("komodo", database, factor)
            # One round for the largest, which takes so long that its time hardly varies.
            for number in range(1, 2 if factor == _GROWTH[-1] else self.rounds + 1):
                self._both("growth", data, database, number, None)
            self._drop(database)

    def _workers(self) -> None:
        self._fill("komodo", "komodo")
        for number in self._numbers():
            for workers in _WORKERS[:2] if self.quick else _WORKERS:
                self._both("workers", f"{workers}", "komodo", number, workers)

    def _consistency(self) -> None:
        with Mongod(replica_set=True) as server:
            fill(described(server.uri), "komodo", "komodo", self.sizes["komodo"] * 1_000_000)

            def measured(
                data: str, tool: str, number: int, command: list[str], more: dict[str, Any]
            ) -> Measurement:
                out = self.folder / "out"
                found = measure(command, server.pid, out)
                shutil.rmtree(out)
                if number:
                    # Not a copy: the number of writes meanwhile is added after this returns.
                    more |= {"section": "consistency", "data": data, "tool": tool, "round": number}
                    more |= asdict(found)
                    self.results.append(more)
                print(
                    f"consistency, {data}, {tool}, round {number}: {found.seconds:.2f} s",
                    flush=True,
                )
                return found

            consistency.run(server.uri, "komodo", self.folder, self._numbers(), measured)
        self._save()

    def _repository(self) -> None:
        database, uri = "changing", self.server.uri
        self._fill("komodo", database)

        def measured(
            data: str, tool: str, number: int, command: list[str], out: Path | None
        ) -> Measurement:
            return self._measure("repository", data, tool, number, command, out)

        repositories.compare(uri, database, "restored", self._numbers(), measured)
        self._drop(database)
        self._fill("komodo", database)

        def save(day: int, layout: str, size: int) -> None:
            row = {"section": "fortnight", "data": f"{day}", "tool": layout, "round": 1}
            self.results.append({**row, "written_bytes": size})
            self._save()

        repositories.fortnight(uri, database, save)
        self._drop(database)

    def _both(
        self, section: str, data: str, database: str, number: int, workers: int | None
    ) -> None:
        """Measure fastdump alone: a backup, and a restore of it."""
        out, uri = self.folder / "out", self.server.uri
        backup = fastdump_backup(uri, database, out, workers)
        self._measure(section, data, "backup", number, backup, out)
        restore = fastdump_restore(uri, "restored", out, workers)
        self._measure(section, data, "restore", number, restore)
        shutil.rmtree(out)
        self._drop("restored")

    def _numbers(self) -> Iterator[int]:
        """Return the numbers of the rounds; 0 is the warm-up."""
        return iter(range(1 if self.quick else 0, self.rounds + 1))

    def _measure(
        self,
        section: str,
        data: str,
        tool: str,
        number: int,
        command: list[str],
        out: Path | None = None,
    ) -> Measurement:
        before = folder_bytes(out) if out else 0
        measured = measure(command, self.server.pid, out)
        measured = replace(measured, written_bytes=measured.written_bytes - before)
        row = {"section": section, "data": data, "tool": tool, "round": number}
        if number:
            self.results.append(row | asdict(measured))
            self._save()
        print(f"{section}, {data}, {tool}, round {number}: {measured.seconds:.2f} s", flush=True)
        return measured

    def _save(self) -> None:
        """Save the results; called after each measurement, so that an interruption loses little."""
        self.out.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"about": self.about, "results": self.results}, indent=1)
        (self.out / "results.json").write_text(content + "\n")

    def _fill(self, shape: str, database: str, factor: int = 1) -> None:
        with connect(described(self.server.uri)) as client:
            if database in client.list_database_names():
                return
        kind = "komodo" if shape == "small" else shape
        began = time.monotonic()
        size = self.sizes[shape] * factor * 1_000_000
        fill(described(self.server.uri), database, kind, size)
        print(f"filled {database} in {time.monotonic() - began:.0f} s", flush=True)

    def _drop(self, database: str) -> None:
        with connect(described(self.server.uri)) as client:
            client.drop_database(database)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="use small data and one round; takes two minutes"
    )
    parser.add_argument("--rounds", type=int, help="rounds, by default 3, or 1 with --quick")
    parser.add_argument(
        "--only", choices=SECTIONS, nargs="+", default=list(SECTIONS), help="run these sections"
    )
    parser.add_argument(
        "--data", choices=list(_FULL), nargs="+", help="data of the section backup, by default all"
    )
    parser.add_argument(
        "--uri",
        help="measure this server, such as FerretDB, instead of an own one: its databases komodo, "
        f"restored and others are written and dropped; only the sections {', '.join(_OF_OTHERS)}",
    )
    parser.add_argument("--size", type=int, help="megabytes of the Komodo-shaped data")
    parser.add_argument("--mongodump", help="path of mongodump, by default the one on PATH")
    parser.add_argument("--mongorestore", help="path of mongorestore, by default the one on PATH")
    parser.add_argument("--km", help="path of Komodo's km, by default the one on PATH")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    tools = Tools.find(options.mongodump, options.mongorestore, options.km)
    for name in tools.missing:
        print(f"{name} was not found: its measurements are left out")
    sizes = _QUICK if options.quick else _FULL
    if options.data:
        sizes = {name: size for name, size in sizes.items() if name in (*options.data, "komodo")}
    if options.size:
        sizes = {**sizes, "komodo": options.size}
    rounds = options.rounds or (1 if options.quick else 3)
    with (
        _server(options.uri) as server,
        tempfile.TemporaryDirectory(prefix="fastdump-bench-") as folder,
    ):
        bench = Bench(server, tools, Path(folder), rounds, sizes, options.quick, options.out)
        bench.run([one for one in options.only if not options.uri or one in _OF_OTHERS])
    tell(options.out / "results.json")
    draw(options.out / "results.json", options.out)


@contextmanager
def _server(uri: str | None) -> Iterator[Server]:
    if uri is not None:
        yield Server(uri, "MongoDB {version}, or another server that says so, by its URI")
        return
    with Mongod() as own:
        about = "MongoDB {version}, cache 0.25 GB, on the same machine"
        yield Server(own.uri, about, own.pid, own.port)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
