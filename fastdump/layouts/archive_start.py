"""Check the beginning of an archive for changes on its way into the file or through the pipe."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from fastdump.codec import archive, gzip
from fastdump.errors import BackupDamagedError, FormatError

__all__ = ["START_BYTES", "check_start"]

START_BYTES = 64 * 1024
"""Number of bytes of an archive that are checked before anything is restored."""

_SHOWN_BYTES = 80


def check_start(path: Path, start: bytes) -> None:
    """Check by its first bytes that an archive is as it was written.

    Raises:
        BackupDamagedError: the archive was converted as if it were text, or begins with a message.
    """
    again = "; make the dump again, because this file cannot be repaired"
    begins = [start.find(b"\n" + magic) for magic in (archive.MAGIC, gzip.MAGIC[:3])]
    if max(begins) >= 0 and not start.startswith((archive.MAGIC, gzip.MAGIC[:2])):
        line = start.partition(b"\n")[0][:_SHOWN_BYTES].decode(errors="replace").strip()
        raise BackupDamagedError(
            f"{path}: the archive begins with a message of the program that wrote it ({line}): "
            "keep messages out of the file with 2> instead of 2>&1, and use docker exec without -t"
            f"{again}"
        )
    text = start.replace(b"\r\n", b"\n")
    if start.count(b"\n") == len(start) - len(text) > 0 and _reach(text) > _reach(start):
        raise BackupDamagedError(
            f"{path}: every line feed of this archive was replaced by two characters, as docker "
            f"exec -t does: leave out -t{again}"
        )


def _reach(start: bytes) -> int:
    """Return the number of bytes at the beginning of an archive that can be parsed."""
    is_gzip = start[:2] == gzip.MAGIC[:2]
    reader = archive.Reader(gzip.inflated(BytesIO(start)) if is_gzip else iter([start]))
    try:
        known = [one.namespace for one in reader.prelude().collections]
        for _event in reader.blocks(known):
            pass
    except FormatError:
        pass
    return reader.position
