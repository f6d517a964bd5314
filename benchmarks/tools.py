"""The commands that are compared: fastdump, MongoDB's own tools if installed, a plain script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tools", "backup_commands", "restore_commands", "versions"]

FASTDUMP = [sys.executable, "-m", "fastdump"]


@dataclass(frozen=True)
class Tools:
    """Paths of the other tools; None if not installed."""

    mongodump: str | None
    mongorestore: str | None
    zstd: str | None
    km: str | None
    """Komodo's own command."""

    @classmethod
    def find(cls, mongodump: str | None, mongorestore: str | None, km: str | None) -> Tools:
        """Return the given paths, or else those on PATH."""
        return cls(
            mongodump or shutil.which("mongodump"),
            mongorestore or shutil.which("mongorestore"),
            shutil.which("zstd"),
            km or shutil.which("km"),
        )

    @property
    def missing(self) -> list[str]:
        """The names of the tools that are not installed."""
        named = {
            "mongodump": self.mongodump, "mongorestore": self.mongorestore, "zstd": self.zstd,
            "km": self.km,
        }  # fmt: skip
        return [name for name, path in named.items() if path is None]


def backup_commands(
    tools: Tools, uri: str, database: str, out: Path, *, others: bool
) -> dict[str, list[str]]:
    """Return each tool's command that backs up a database to `out`.

    With `others`, add a plain script, archives, and fastdump's other layouts.
    """
    commands = {"fastdump": fastdump_backup(uri, database, out)}
    if tools.mongodump:
        dump = [tools.mongodump, "--quiet", "--uri", uri, "--db", database, "--out", str(out)]
        commands["mongodump"] = dump
        commands["mongodump --gzip"] = [*dump, "--gzip"]
    if tools.mongodump and others and tools.zstd:
        commands["mongodump, zstd -1"] = [
            "/bin/sh", "-c", 'mkdir -p "$0" && "$@" --archive | zstd -q -1 -T0 -o "$0/archive.zst"',
            str(out), *dump[:-2],
        ]  # fmt: skip
    if tools.mongodump and others:
        # Write the archive into a folder, because a folder is measured and removed.
        commands["mongodump --gzip --archive"] = [
            "/bin/sh", "-c", 'mkdir -p "$0" && exec "$@"', str(out),
            *dump[:-2], "--gzip", f"--archive={out / 'archive'}",
        ]  # fmt: skip
    if tools.km:
        # Source: Komodo's manual, "Backup and restore": the settings of km are in the environment.
        commands["km"] = [
            "/usr/bin/env", f"KOMODO_DATABASE_URI={uri}", f"KOMODO_DATABASE_DB_NAME={database}",
            f"KOMODO_CLI_BACKUPS_FOLDER={out}", tools.km, "database", "backup", "-y",
        ]  # fmt: skip
    if others:
        archive = out / "archive"
        for name, options in {
            "fastdump, komodo-json": ["--layout", "komodo-json"],
            "fastdump, mongodump": ["--layout", "mongodump"],
            "fastdump, mongodump, --no-gzip": ["--layout", "mongodump", "--no-gzip"],
            "fastdump, archive": ["--layout", "archive", "--out", str(archive)],
            "fastdump, archive, --no-gzip": [
                "--layout", "archive", "--no-gzip", "--out", str(archive),
            ],
        }.items():  # fmt: skip
            commands[name] = [*fastdump_backup(uri, database, out), *options]
        commands["plain script"] = [
            sys.executable, "-m", "benchmarks.script", uri, database, str(out),
        ]  # fmt: skip
    return commands


def fastdump_backup(uri: str, database: str, out: Path, workers: int | None = None) -> list[str]:
    """Return fastdump's command that backs up a database."""
    jobs = ["-j", str(workers)] if workers else []
    return [
        *FASTDUMP, "backup", "-q", "-y", "--uri", uri, "--db", database, "-f", str(out), *jobs,
    ]  # fmt: skip


def fastdump_restore(uri: str, target: str, backup: Path, workers: int | None = None) -> list[str]:
    """Return fastdump's command that restores a backup."""
    jobs = ["-j", str(workers)] if workers else []
    return [
        *FASTDUMP, "restore", "-q", "-y", "--target-uri", uri, "--target-db", target,
        "-f", str(backup), *jobs,
    ]  # fmt: skip


def restore_commands(
    tools: Tools, uri: str, database: str, target: str, backup: Path, dump: Path
) -> dict[str, list[str]]:
    """Return each tool's command that restores `database` as `target`."""
    commands = {"fastdump": fastdump_restore(uri, target, backup)}
    if tools.mongodump:
        for name, path in (("folder", dump / database), ("archive", dump / "archive")):
            commands[f"fastdump, mongodump's {name}"] = [
                *FASTDUMP, "restore", "-q", "-y", "--target-uri", uri, "--target-db", target,
                str(path),
            ]  # fmt: skip
    if tools.mongorestore:
        restore = [
            tools.mongorestore, "--quiet", "--gzip", "--uri", uri,
            "--nsFrom", f"{database}.*", "--nsTo", f"{target}.*", str(dump),
        ]  # fmt: skip
        commands["mongorestore --gzip"] = restore
        commands["mongorestore --gzip, 4 workers"] = [
            *restore[:-1], "--numInsertionWorkersPerCollection", "4", restore[-1],
        ]  # fmt: skip
        commands["mongorestore --gzip --archive, 4 workers"] = [
            *restore[:-1], "--numInsertionWorkersPerCollection", "4",
            f"--archive={dump / 'archive'}",
        ]  # fmt: skip
    return commands


def versions(tools: Tools) -> dict[str, str]:
    """Return the version of each tool, as it prints it."""
    found = {}
    for name, command in (
        ("fastdump", FASTDUMP),
        ("mongodump", [tools.mongodump] if tools.mongodump else []),
        ("mongorestore", [tools.mongorestore] if tools.mongorestore else []),
    ):
        if command:
            said = subprocess.run(
                [*command, "--version"], capture_output=True, text=True, check=False
            )
            found[name] = said.stdout.splitlines()[0]
    return found
