"""The journal of runs: what happened to the backups of a place, and when."""

from __future__ import annotations
