"""Back up and restore MongoDB databases with many processes at once.

The functions are named like the commands, and each returns a report with all that its command
prints:

    import fastdump

    report = fastdump.backup("mongodb://localhost", db="komodo", folder="/backups")
    print(report.documents, report.seconds)

These functions print nothing and ask nothing. A failure raises a `FastdumpError`.
"""

from __future__ import annotations

from fastdump.api.backups import convert, list_backups, prune, rekey, status, verify
from fastdump.api.databases import backup, copy, drill, restore
from fastdump.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    FastdumpError,
    FormatError,
    IncompleteError,
    ServerError,
    StorageError,
    UsageError,
)
from fastdump.model import (
    Backup,
    CollectionFilter,
    Compression,
    Consistency,
    Keys,
    Limits,
    LoadOptions,
    Namespace,
    NamespaceFilter,
    ReadOptions,
    Rejection,
    Retention,
    Server,
    WriteOptions,
)
from fastdump.progress import Reporter
from fastdump.report import (
    BackupReport,
    CollectionReport,
    ConvertReport,
    CopyReport,
    DrillReport,
    Problem,
    PruneReport,
    RekeyReport,
    RestoreReport,
    StatusReport,
    VerifyReport,
)
from fastdump.version import __version__

__all__ = [
    "Backup",
    "BackupDamagedError",
    "BackupNotFoundError",
    "BackupReport",
    "CollectionFilter",
    "CollectionReport",
    "Compression",
    "Consistency",
    "ConvertReport",
    "CopyReport",
    "DrillReport",
    "FastdumpError",
    "FormatError",
    "IncompleteError",
    "Keys",
    "Limits",
    "LoadOptions",
    "Namespace",
    "NamespaceFilter",
    "Problem",
    "PruneReport",
    "ReadOptions",
    "Rejection",
    "RekeyReport",
    "Reporter",
    "RestoreReport",
    "Retention",
    "Server",
    "ServerError",
    "StatusReport",
    "StorageError",
    "UsageError",
    "VerifyReport",
    "WriteOptions",
    "__version__",
    "backup",
    "convert",
    "copy",
    "drill",
    "list_backups",
    "prune",
    "rekey",
    "restore",
    "status",
    "verify",
]
