"""The ways in which documents are compressed."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEFAULT_COMPRESSION", "GZIP", "METHODS", "NONE", "ZSTD", "Compression"]

GZIP, ZSTD, NONE = "gzip", "zstd", "none"

METHODS: dict[str, tuple[int, int, int]] = {GZIP: (0, 3, 1), ZSTD: (1, 19, 1), NONE: (0, 0, 0)}
"""Lowest, highest and default level of each method. Those of gzip are isal's."""


class Compression(NamedTuple):
    """A way of compressing documents."""

    method: str = GZIP
    """`gzip`, `zstd` or `none`."""
    level: int | None = None
    """How hard to try: 0 to 3 for gzip, 1 to 19 for zstd; None is the method's default, 1."""

    @property
    def effort(self) -> int:
        """The level, or the method's default."""
        return METHODS[self.method][2] if self.level is None else self.level

    @property
    def gzip_level(self) -> int | None:
        """The level of gzip; None if another method is meant."""
        return self.effort if self.method == GZIP else None

    def __str__(self) -> str:
        return self.method if self.level is None else f"{self.method}:{self.level}"


DEFAULT_COMPRESSION = Compression()
