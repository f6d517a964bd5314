"""Where settings come from: flags, then the environment, then files, then defaults.

The only reader of the environment. The names are Komodo's where Komodo has one, so that a machine
that is set up for it needs nothing else, and `FASTDUMP_<OPTION>` for the rest.
"""

from __future__ import annotations

from fastdump.config.arguments import (
    checked_loading,
    checked_mode,
    checked_number,
    checked_reading,
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
    SOURCE,
    TARGET,
    Origin,
)
from fastdump.config.parsers import cluster_time, one_of, switch, whole_number
from fastdump.config.settings import SEPARATOR, Settings, Shown, read_text

__all__ = [
    "CONNECTION_OPTIONS",
    "DEFAULT_FOLDER",
    "DEFAULT_MAX_BACKUPS",
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
    "checked_word",
    "checked_workers",
    "checked_writing",
    "cluster_time",
    "database_of",
    "described",
    "hidden",
    "one_of",
    "read_text",
    "switch",
    "whole_number",
]
