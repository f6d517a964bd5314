from __future__ import annotations

from pathlib import Path

import pytest

from fastdump.config.clouds import aws_profile
from fastdump.errors import UsageError

CREDENTIALS = """
[default]
aws_access_key_id = d
aws_secret_access_key = ds
[work]
aws_access_key_id = w
aws_secret_access_key = ws
aws_session_token = wt
"""
CONFIG = """
[default]
region = eu-west-1
[profile work]
region = eu-central-1
endpoint_url = http://nas:9000
output = json
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws/config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def test_the_default_profile(home: dict[str, str]) -> None:
    keys = {"aws_access_key_id": "d", "aws_secret_access_key": "ds"}
    assert aws_profile(home) == {**keys, "aws_region": "eu-west-1"}


def test_a_named_profile(home: dict[str, str]) -> None:
    assert aws_profile({**home, "AWS_PROFILE": "work"}) == {
        "aws_access_key_id": "w",
        "aws_secret_access_key": "ws",
        "aws_session_token": "wt",
        "aws_region": "eu-central-1",
        "aws_endpoint_url": "http://nas:9000",
    }


def test_the_environment_wins(home: dict[str, str]) -> None:
    own = {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "es", "AWS_REGION": "us-east-1"}
    assert aws_profile({**home, **own, "AWS_PROFILE": "work"}) == {
        "aws_endpoint_url": "http://nas:9000"
    }


def test_files_elsewhere(home: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("[default]\naws_access_key_id = o\naws_secret_access_key = os\n")
    found = aws_profile({**home, "AWS_SHARED_CREDENTIALS_FILE": str(other)})
    assert found["aws_access_key_id"] == "o"


def test_no_files(tmp_path: Path) -> None:
    assert aws_profile({"HOME": str(tmp_path)}) == {}


def test_a_profile_that_is_not_there(home: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no profile 'typo'"):
        aws_profile({**home, "AWS_PROFILE": "typo"})


@pytest.mark.parametrize("address", ["foo bar", "nas:9000", "http://", "http://a b"])
def test_an_endpoint_that_is_no_address(home: dict[str, str], address: str) -> None:
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL must be an address"):
        aws_profile({**home, "AWS_ENDPOINT_URL": address})
    config = CONFIG.replace("http://nas:9000", address)
    Path(home["HOME"], ".aws/config").write_text(config)
    with pytest.raises(UsageError, match="endpoint_url in the profile must be an address"):
        aws_profile({**home, "AWS_PROFILE": "work"})


def test_a_file_that_is_damaged(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".aws/credentials").write_text("aws_secret_access_key = never shown\n")
    with pytest.raises(UsageError, match="not an INI file") as caught:
        aws_profile(home)
    assert "never shown" not in str(caught.value)
