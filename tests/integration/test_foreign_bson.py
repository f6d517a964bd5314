"""The package `bson` from PyPI installs itself over PyMongo's; then nothing works."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Run


def test_it_is_refused_with_what_to_do(fastdump: Run, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "bson"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("def dumps(obj): ...\ndef loads(data): ...\n")
    done = fastdump("backup", "--address", "h", PYTHONPATH=str(foreign.parent))
    assert done.code == 2
    assert "pip uninstall -y bson pymongo" in done.err
    assert "Traceback" not in done.err
