"""Records of runs for others: the journal beside the backups, metrics, a heartbeat, messages."""

from __future__ import annotations
