"""Reports, which the Python API returns and the command line prints."""

from __future__ import annotations

from fastdump.report.commands import (
    AgainstReport,
    BackupReport,
    CollectionReport,
    Comparison,
    ConvertReport,
    CopyReport,
    DrillReport,
    LoadReport,
    Problem,
    PruneReport,
    RekeyReport,
    RestoreReport,
    VerifyReport,
    Work,
)
from fastdump.report.status import Growth, StatusReport

__all__ = [
    "AgainstReport",
    "BackupReport",
    "CollectionReport",
    "Comparison",
    "ConvertReport",
    "CopyReport",
    "DrillReport",
    "Growth",
    "LoadReport",
    "Problem",
    "PruneReport",
    "RekeyReport",
    "RestoreReport",
    "StatusReport",
    "VerifyReport",
    "Work",
]
