"""`fastdump schedule`: what it prints is what systemd, cron, Kubernetes and Komodo read."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from fastdump.cli import main

URI = "mongodb://someone:s3cret@mongo:27017"
ODD = 'it\'s 100% $HOME "q" \\ é'


def scheduled(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["schedule", *words]) == 0
    return capsys.readouterr().out


def units(text: str, folder: Path) -> list[Path]:
    """Write the parts of the output where their comments say, below a folder."""
    found = []
    for part in re.split(r"(?m)^# (?=/etc/)", text)[1:]:
        name, _line, content = part.partition("\n")
        path = folder / Path(name.split(",")[0]).name
        path.write_text(content)
        found.append(path)
    return found


def test_systemd(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = scheduled(capsys, "systemd", "--at", "5:30", "--on", "sun", "backup",
                     "--uri", URI, "-f", "/backups", "--query", ODD)  # fmt: skip
    assert "s3cret" not in text
    secrets, service, timer = units(text, tmp_path)
    assert secrets.read_text().startswith("KOMODO_DATABASE_URI='...'")
    assert "OnCalendar=Sun *-*-* 05:30:00" in timer.read_text()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", service, timer],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_cron(capsys: pytest.CaptureFixture[str]) -> None:
    text = scheduled(capsys, "--at", "23:05", "cron", "--", "drill", "-f", "/b", "-r", ODD)
    (line,) = (one for one in text.splitlines() if one.startswith("5 23 * * * root "))
    command = line.partition("exec ")[2].replace(r"\%", "%")
    words = shlex.split(command)
    assert words[1:] == ["drill", "-q", "-y", "-f", "/b", "-r", ODD]
    assert "%" not in line.replace(r"\%", ""), "cron makes a line end of it"


def test_kubernetes(capsys: pytest.CaptureFixture[str]) -> None:
    text = scheduled(capsys, "kubernetes", "--image", "registry.example/fastdump:1", "backup",
                     f"--uri={URI}", "--notify", "json://x/s3cret")  # fmt: skip
    assert "s3cret" not in text
    job = yaml.safe_load(text)
    kubernetes_validate.validate(job, "1.30", strict=True)
    assert job["spec"]["schedule"] == "0 3 * * *"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["backup", "--log-format", "text"]
    assert container["envFrom"] == [{"secretRef": {"name": "fastdump-backup"}}]
    assert "--from-literal=KOMODO_DATABASE_URI=... --from-literal=FASTDUMP_NOTIFY=..." in text
    assert {"name": "backups", "mountPath": "/backups"} in container["volumeMounts"]
    remote = yaml.safe_load(scheduled(capsys, "kubernetes", "prune", "-f", "s3://bucket/x"))
    assert "persistentVolumeClaim" not in str(remote)
    kubernetes_validate.validate(remote, "1.30", strict=True)


def test_komodo(capsys: pytest.CaptureFixture[str]) -> None:
    text = scheduled(capsys, "komodo", "--on", "mon", "backup", "--uri", URI, "--query", ODD)
    assert "s3cret" not in text
    found = tomllib.loads(text)
    (stack,) = found["stack"]
    (procedure,) = found["procedure"]
    service = yaml.safe_load(stack["config"]["file_contents"])["services"]["job"]
    assert service["command"] == ["backup", "--query", ODD]
    assert service["environment"] == {"KOMODO_DATABASE_URI": "${KOMODO_DATABASE_URI}"}
    assert stack["config"]["environment"] == "KOMODO_DATABASE_URI=[[KOMODO_DATABASE_URI]]\n"
    assert procedure["config"]["schedule"] == "0 0 3 * * MON"
    (execution,) = procedure["config"]["stage"][0]["executions"]
    assert execution["execution"]["params"]["stack"] == stack["name"]


def test_names_that_are_commands_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = scheduled(capsys, "cron", "--name", "backup", "drill", "-f", "verify", "--", "prune")
    assert "# /etc/cron.d/backup" in text
    assert "drill -q -y -f verify -- prune\n" in text


def test_an_address_without_a_password_stays(capsys: pytest.CaptureFixture[str]) -> None:
    text = scheduled(capsys, "cron", "backup", "--uri", "mongodb://mongo", "-q")
    assert "--uri mongodb://mongo" in text
    assert "/etc/fastdump/environment" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("at", "backup"), "must be for one of systemd, cron"),
        (("cron",), "there is no command to run"),
        (("cron", "list"), "there is no command to run"),
        (("cron", "--at", "25:00", "backup"), "--at is '25:00'"),
        (("cron", "--on", "sunday", "backup"), "--on is 'sunday'"),
        (("cron", "--name", "a b", "backup"), "--name is 'a b'"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert main(["schedule", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_command_with_a_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["schedule", "cron", "backup", "--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err
