"""Runs of commands, as the journal beside the backups keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Limits", "Run", "Watchers"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command."""

    command: str
    started: datetime
    """When it began, in UTC."""
    seconds: float
    exit_code: int
    message: str = ""
    """The sentence about the failure; empty if there was none, or if it must not be known."""
    backup: str | None = None
    """Name of the backup that it made or read, if it came so far."""
    documents: int | None = None
    raw_bytes: int | None = None
    """Size of the documents in bytes of BSON."""
    file_bytes: int | None = None
    """Size of the files or pieces."""
    share: float = 1
    """Share of the documents that were read, at most 1."""
    host: str = ""
    """Name of the machine."""

    @property
    def ok(self) -> bool:
        """True if everything was done."""
        return self.exit_code == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits within which all is well with backups; None sets no limit."""

    max_age: timedelta | None = None
    """Age of the newest backup."""
    max_unverified: timedelta | None = None
    """Time since a backup was last verified or restored for a test."""
    min_documents: int | None = None
    """Number of documents of the newest backup."""
    max_shrink: float | None = None
    """Share of its documents that a database may lose from one backup to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Services and files that are told about runs; None or empty for none."""

    metrics: str | None = None
    """File that Prometheus' node_exporter reads, or address of a Pushgateway."""
    heartbeat: str | None = None
    """Address of a check that is pinged at the beginning and at the end."""
    notify: tuple[str, ...] = ()
    """Addresses of services that send messages, in the form of the library apprise."""
    always: bool = False
    """True for a message after each run, otherwise after failures and the first success."""
