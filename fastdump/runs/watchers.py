"""Tell all that watch a run that it began, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fastdump.errors import WatcherError
from fastdump.model import Run, Watchers
from fastdump.runs import heartbeat

__all__ = ["began", "ended"]


def began(watchers: Watchers) -> Iterator[str]:
    """Tell that a run begins, and yield a sentence for each watcher that could not be told."""
    if watchers.heartbeat is not None:
        yield from _told(partial(heartbeat.ping, watchers.heartbeat, heartbeat.STARTED))


def ended(
    watchers: Watchers, run: Run, folder: str, *, recovered: bool, lines: str = ""
) -> Iterator[str]:
    """Tell how a run ended, and yield a sentence for each watcher that could not be told.

    Args:
        watchers: who is told.
        run: the run.
        folder: the place of the backups.
        recovered: whether the run before it failed, and this one did not.
        lines: the last lines of the log.
    """
    if watchers.metrics is not None:
        yield from _told(partial(_measure, watchers.metrics, run, folder))
    text = "\n".join([*_facts(run, folder), *([lines] if lines else [])])
    if watchers.heartbeat is not None:
        event = heartbeat.SUCCEEDED if run.ok else heartbeat.FAILED
        yield from _told(partial(heartbeat.ping, watchers.heartbeat, event, text))
    if watchers.notify and (watchers.always or recovered or not run.ok):
        from fastdump.runs.notifications import send

        how = "failed" if not run.ok else "works again" if recovered else "succeeded"
        title = f"fastdump {run.command} {how}: {folder or run.host}"
        yield from _told(partial(send, watchers.notify, title, text, failed=not run.ok))


def _measure(place: str, run: Run, folder: str) -> None:
    from fastdump.runs import metrics

    if "://" in place:
        metrics.push(run, folder, place)
    else:
        metrics.write(run, folder, Path(place))


def _facts(run: Run, folder: str) -> Iterator[str]:
    if not run.ok:
        yield run.message or f"exit code {run.exit_code}"
    yield f"{run.command} on {run.host} at {run.started:%Y-%m-%d %H:%M} UTC, {run.seconds:,.1f} s"
    if folder:
        yield f"backups in {folder}"
    if run.backup is not None:
        documents = "" if run.documents is None else f": {run.documents:,} documents"
        yield f"backup {run.backup}{documents}"


def _told(tell: Callable[[], None]) -> Iterator[str]:
    try:
        tell()
    except WatcherError as error:
        yield str(error)
