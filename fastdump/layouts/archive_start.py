"""How an archive begins: seeing that it came into its file, or through its pipe, unchanged."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from fastdump.codec import archive, gzip
from fastdump.errors import BackupDamagedError, FormatError

__all__ = ["START_BYTES", "check_start"]

START_BYTES = 64 * 1024
"""How much of an archive is looked at before anything is restored."""

_SHOWN_BYTES = 80


def check_start(path: Path, start: bytes) -> None:
    """See that an archive is as it was written, by its first bytes.

    Raises:
        BackupDamagedError: it has become text on its way, or begins with text.
    """
    again = "; make the dump again, the file cannot be mended"
    begins = [start.find(b"\n" + magic) for magic in (archive.MAGIC, gzip.MAGIC[:3])]
    if max(begins) >= 0 and not start.startswith((archive.MAGIC, gzip.MAGIC[:2])):
        line = start.partition(b"\n")[0][:_SHOWN_BYTES].decode(errors="replace").strip()
        raise BackupDamagedError(
            f"{path}: this begins with a message of the program that wrote it ({line}): keep "
            f"those out of the file with 2> instead of 2>&1, and with docker exec without -t{again}"
        )
    text = start.replace(b"\r\n", b"\n")
    if start.count(b"\n") == len(start) - len(text) > 0 and _reach(text) > _reach(start):
        raise BackupDamagedError(
            f"{path}: every line feed of this archive has become two characters, as docker exec "
            f"-t does it: leave out -t{again}"
        )


def _reach(start: bytes) -> int:
    """Return how many bytes of the beginning of an archive can be understood."""
    is_gzip = start[:2] == gzip.MAGIC[:2]
    reader = archive.Reader(gzip.inflated(BytesIO(start)) if is_gzip else iter([start]))
    try:
        known = [one.namespace for one in reader.prelude().collections]
        for _event in reader.blocks(known):
            pass
    except FormatError:
        pass
    return reader.position
