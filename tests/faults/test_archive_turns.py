"""Processes that share an archive, one of which is killed while it writes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest

from fastdump.engine.executors.forkserver import without_main_module
from fastdump.layouts.archive import ArchivePlace
from fastdump.layouts.interface import Outputs
from fastdump.model import Chunk, ChunkSource, Namespace
from tests.conformance.test_layouts import TAKEN, catalog_of

CHUNK = Chunk(Namespace("db", "c"), ChunkSource(Namespace("db", "c")))


def _die(*_arguments: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_while_writing(outputs: Outputs) -> None:
    os.write = _die
    with outputs.opened(CHUNK) as output:
        output.write(b"a block")


@pytest.mark.timeout(30)  # it would wait for ever
def test_its_turn_ends_with_it(tmp_path: Path) -> None:
    place = ArchivePlace(str(tmp_path / "archive"), None, 0o600)
    writer = place.begin(TAKEN, catalog_of(["c"]), 1)
    killed = multiprocessing.get_context("forkserver").Process(
        target=die_while_writing, args=(writer.outputs,)
    )
    with without_main_module():
        killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    with writer.outputs.opened(CHUNK) as output:
        assert output.write(b"another block") == 3
    writer.abort()
    assert list(tmp_path.iterdir()) == []
