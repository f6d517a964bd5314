"""docs/from-mongodump.md names every option of the tools, and only options of ours that exist."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastdump.cli import parser

PAGE = Path(__file__).parents[2] / "docs/from-mongodump.md"

# What `--help` of each lists, MongoDB Database Tools of August 2026.
COMMON = re.findall(
    r"\w+",
    """help version config verbose quiet uri host port ssl sslCAFile sslPEMKeyFile sslPEMKeyPassword
    sslCRLFile sslFIPSMode tlsInsecure username password authenticationDatabase
    authenticationMechanism awsSessionToken gssapiServiceName gssapiHostName db collection gzip
    archive numParallelCollections excludeCollection excludeCollectionsWithPrefix""",
)
DUMP = re.findall(
    r"\w+",
    """query queryFile readPreference forceTableScan out oplog dumpDbUsersAndRoles
    viewsAsCollections""",
)
RESTORE = re.findall(
    r"\w+",
    """objcheck oplogReplay oplogLimit oplogFile restoreDbUsersAndRoles dir drop dryRun writeConcern
    noIndexRestore convertLegacyIndexes noOptionsRestore keepIndexVersion maintainInsertionOrder
    numInsertionWorkersPerCollection stopOnError bypassDocumentValidation preserveUUID
    fixDottedHashIndex nsExclude nsInclude nsFrom nsTo""",
)


def rows() -> list[tuple[str, str, str]]:
    """Theirs, ours, and the remark."""
    found = re.findall(
        r"^\| `--(\w+)` \| (`--([\w-]+)`|none) \| ?(.*?) ?\|$", PAGE.read_text(), re.M
    )
    return [(theirs, ours, remark) for theirs, _cell, ours, remark in found]


def our_options() -> set[str]:
    top = parser()
    options = {option for action in top._actions for option in action.option_strings}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in ("backup", "restore"):
                options |= set(action.choices[name]._option_string_actions)
    return options


def test_every_option_is_in_the_table_once() -> None:
    assert sorted(theirs for theirs, _ours, _remark in rows()) == sorted(COMMON + DUMP + RESTORE)


def test_ours_exist_and_where_there_is_none_it_is_said_why() -> None:
    known = our_options()
    for theirs, ours, remark in rows():
        if ours:
            assert f"--{ours}" in known, theirs
        else:
            assert len(remark) > 5, theirs


def test_options_that_the_text_names_exist() -> None:
    text = re.sub(r"^mongo.*", "", PAGE.read_text(), flags=re.M)
    theirs = {f"--{name}" for name in COMMON + DUMP + RESTORE}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*\w(?![\w-])", text))
    assert named - theirs - our_options() == set()


@pytest.mark.parametrize(("tool", "listed"), [("mongodump", DUMP), ("mongorestore", RESTORE)])
def test_what_the_tool_itself_lists(tool: str, listed: list[str]) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not on PATH")
    said = subprocess.run([tool, "--help"], capture_output=True, text=True, check=True, timeout=60)
    # The longest name is broken at the end of a line.
    names = {name for name in re.findall(r"--(\w+)", said.stdout) if name != "maintainInsertion"}
    assert names <= {*COMMON, *listed}
