"""The page that `fastdump status --html` writes: one file with its plots, without scripts."""

from __future__ import annotations
