"""Read settings from flags, then the environment, then files, then defaults.

Only this package reads the environment. Settings that Komodo has too have Komodo's names, so that a
machine that is set up for Komodo needs nothing else; all others are named `FASTDUMP_<OPTION>`.
"""

from __future__ import annotations

from fastdump.config.arguments import (
    checked_loading,
    checked_mode,
    checked_number,
    checked_reading,
    checked_retention,
    checked_share,
    checked_word,
    checked_workers,
    checked_writing,
)
from fastdump.config.connections import database_of, described, hidden
from fastdump.config.files import Files
from fastdump.config.names import (
    CONNECTION_OPTIONS,
    DEFAULT_FOLDER,
    DEFAULT_MAX_BACKUPS,
    LOG_FORMATS,
    NOTIFY_ON,
    SOURCE,
    TARGET,
    Origin,
)
from fastdump.config.parsers import cluster_time, one_of, percentage, switch, whole_number
from fastdump.config.settings import SEPARATOR, Settings, Shown, read_text

__all__ = [
    "CONNECTION_OPTIONS",
    "DEFAULT_FOLDER",
    "DEFAULT_MAX_BACKUPS",
    "LOG_FORMATS",
    "NOTIFY_ON",
    "SEPARATOR",
    "SOURCE",
    "TARGET",
    "Files",
    "Origin",
    "Settings",
    "Shown",
    "checked_loading",
    "checked_mode",
    "checked_number",
    "checked_reading",
    "checked_retention",
    "checked_share",
    "checked_word",
    "checked_workers",
    "checked_writing",
    "cluster_time",
    "database_of",
    "described",
    "hidden",
    "one_of",
    "percentage",
    "read_text",
    "switch",
    "whole_number",
]
