"""Tell Prometheus how the last runs were: by a file for node_exporter, or by a Pushgateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import basic_auth_handler, default_handler, pushadd_to_gateway
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fastdump.errors import WatcherError
from fastdump.model import Run
from fastdump.runs.reasons import reason

__all__ = ["push", "write"]

_ABOUT = {
    "fastdump_last_run_timestamp_seconds": "Time at which the last run ended.",
    "fastdump_last_run_duration_seconds": "Duration of the last run.",
    "fastdump_last_run_exit_code": "Exit code of the last run; 0 if everything was done.",
    "fastdump_last_success_timestamp_seconds": "Time at which the last run without failure ended.",
    "fastdump_last_success_documents": "Documents of the last run without failure.",
    "fastdump_last_success_document_bytes": "Size of these documents as BSON.",
    "fastdump_last_success_file_bytes": "Size of the files of the last run without failure.",
}
"""The metrics, all gauges, by names after https://prometheus.io/docs/practices/naming/."""

_LABELS = ("command", "folder")
_TIMEOUT = 10.0
"""Limit for a Pushgateway's answer, in seconds."""

_Samples = Mapping[tuple[str, tuple[str, ...]], float]


class _Gauges(Collector):
    def __init__(self, samples: _Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, about in _ABOUT.items():
            family = GaugeMetricFamily(name, about, labels=_LABELS)
            for (found, labels), value in self._samples.items():
                if found == name:
                    family.add_metric(labels, value)
            if family.samples:
                yield family


def write(run: Run, folder: str, path: Path) -> None:
    """Write the metrics to a file, which keeps those of other commands and folders.

    After a failure it keeps those of the last success too. Who reads the file meanwhile finds the
    former one or the new one.

    Raises:
        WatcherError: the file cannot be read or written.
    """
    with _translated(f"{path}: the metrics cannot be written"):
        former = _read(path.read_text()) if path.is_file() else {}
        write_to_textfile(str(path), _registry({**former, **_samples(run, folder)}))


def push(run: Run, folder: str, url: str) -> None:
    """Push the metrics to a Pushgateway, which keeps the others of this machine and folder.

    Args:
        run: the run that ended.
        folder: the place of the backups.
        url: the address, which may hold a user and a password.

    Raises:
        WatcherError: the gateway cannot be reached or refuses.
    """
    parts = urlsplit(url)
    handler = default_handler
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        handler = partial(basic_auth_handler, username=user, password=password)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with _translated(f"{address}: the metrics cannot be pushed"):
        pushadd_to_gateway(
            address,
            job="fastdump",
            registry=_registry(_samples(run, folder)),
            grouping_key={"instance": run.host, "command": run.command, "folder": folder},
            timeout=_TIMEOUT,
            handler=handler,
        )


def _registry(samples: _Samples) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Gauges(samples))
    return registry


def _samples(run: Run, folder: str) -> _Samples:
    ended = run.started.timestamp() + run.seconds
    found: dict[str, float | None] = {
        "last_run_timestamp_seconds": ended,
        "last_run_duration_seconds": run.seconds,
        "last_run_exit_code": run.exit_code,
    }
    if run.ok:
        found |= {
            "last_success_timestamp_seconds": ended,
            "last_success_documents": run.documents,
            "last_success_document_bytes": run.raw_bytes,
            "last_success_file_bytes": run.file_bytes,
        }
    labels = (run.command, folder)
    return {(f"fastdump_{name}", labels): one for name, one in found.items() if one is not None}


def _read(text: str) -> _Samples:
    return {
        (sample.name, tuple(sample.labels[label] for label in _LABELS)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in _ABOUT
    }


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError) as error:
        raise WatcherError(f"{what}: {error!r}; check the address, or delete the file") from None
    except (OSError, HTTPException) as error:
        raise WatcherError(f"{what}: {reason(error)}") from None
