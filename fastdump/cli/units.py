"""Units that run a command every day, as text for systemd, cron, Kubernetes and Komodo."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastdump.config import DEFAULT_FOLDER
from fastdump.model import is_url

__all__ = ["KINDS", "Job"]

_ENVIRONMENT = "/etc/fastdump/environment"
"""File with the variables that hold secrets."""

_SECRETS_FOLDER = "/run/secrets/fastdump"
"""Folder in a container that has each value of the Secret as a file."""

_USER = 1000
"""User of the container image."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command that runs at one time of each day, or of one day of each week."""

    name: str
    words: tuple[str, ...]
    """The command with its options, without secrets."""
    secrets: tuple[str, ...]
    """Names of the environment variables that it needs."""
    hour: int
    minute: int
    day: str | None
    """Day of the week as `mon`; None for every day."""
    image: str
    folder: str | None
    """Folder of the backups, as given on the command line."""

    @property
    def about(self) -> str:
        """Title of the unit."""
        return f"fastdump {self.words[0]}"

    @property
    def local_folder(self) -> str | None:
        """The folder of the backups; None if they are in an object store."""
        folder = self.folder or DEFAULT_FOLDER
        return None if is_url(folder) else folder

    def with_options(self, *added: str) -> tuple[str, ...]:
        """Return the words with more options, in front of a path behind `--`."""
        command, *rest = self.words
        return (command, *added, *rest)

    @property
    def cron(self) -> str:
        """The time in the form of cron."""
        return f"{self.minute} {self.hour} * * {self.day or '*'}"


def _systemd(job: Job) -> str:
    day = f"{job.day.capitalize()} " if job.day else ""
    words = " ".join(_for_systemd(word) for word in (_program(), *_logged(job)))
    return f"""\
{_file_of_secrets(job)}# /etc/systemd/system/{job.name}.service
[Unit]
Description={job.about}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={words}
EnvironmentFile=-{_ENVIRONMENT}
# What a repository remembers between two runs.
Environment=XDG_STATE_HOME=/var/lib
StateDirectory=fastdump
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full

# /etc/systemd/system/{job.name}.timer
[Unit]
Description={job.about}, {job.day or "every day"} at {job.hour:02}:{job.minute:02}

[Timer]
OnCalendar={day}*-*-* {job.hour:02}:{job.minute:02}:00
# A run that was missed because the machine was off is made up for.
Persistent=yes

[Install]
WantedBy=timers.target

# Then: systemctl daemon-reload && systemctl enable --now {job.name}.timer
# To try it: systemctl start {job.name}.service; journalctl -u {job.name}
"""


def _cron(job: Job) -> str:
    words = shlex.join((_program(), *job.with_options("-q"))).replace("%", r"\%")
    read = f". {_ENVIRONMENT}; " if job.secrets else ""
    return f"""\
{_file_of_secrets(job)}# /etc/cron.d/{job.name}
# cron sends what is printed to this address: with -q only what failed.
MAILTO=root
{job.cron} root set -a; {read}exec {words}
"""


def _kubernetes(job: Job) -> str:
    import yaml

    create = "".join(f" --from-literal={name}=..." for name in job.secrets)
    comment = f"# kubectl create secret generic {job.name}{create}\n" if job.secrets else ""
    claim = f"# A PersistentVolumeClaim {job.name} must exist.\n" if job.local_folder else ""
    files = (
        f"# Files of the Secret are in {_SECRETS_FOLDER}, for --password-file and others.\n"
        if job.secrets
        else ""
    )
    return comment + files + claim + yaml.safe_dump(_cron_job(job), sort_keys=False)


def _cron_job(job: Job) -> dict[str, object]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": job.name},
        "spec": {
            "schedule": job.cron,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": {"backoffLimit": 2, "template": {"spec": _pod(job)}}},
        },
    }


def _pod(job: Job) -> dict[str, object]:
    volumes: list[dict[str, object]] = [{"name": "temporary", "emptyDir": {}}]
    mounts: list[dict[str, object]] = [{"name": "temporary", "mountPath": "/tmp"}]  # noqa: S108
    if job.local_folder:
        volumes.append({"name": "backups", "persistentVolumeClaim": {"claimName": job.name}})
        mounts.append({"name": "backups", "mountPath": job.local_folder})
    container: dict[str, object] = {
        "name": "fastdump",
        "image": job.image,
        "args": list(_logged(job)),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    if job.secrets:
        volumes.append({"name": "secrets", "secret": {"secretName": job.name}})
        mounts.append({"name": "secrets", "mountPath": _SECRETS_FOLDER, "readOnly": True})
        container["envFrom"] = [{"secretRef": {"name": job.name}}]
    return {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "fsGroup": _USER},
        "containers": [container],
        "volumes": volumes,
    }


def _komodo(job: Job) -> str:
    import yaml

    service: dict[str, object] = {"image": job.image, "command": list(job.words)}
    if job.secrets:
        service["environment"] = {name: f"${{{name}}}" for name in job.secrets}
    if job.local_folder:
        service["volumes"] = [f"{job.local_folder}:{job.local_folder}"]
    # A service with a profile does not start when the Stack is deployed.
    service["profiles"] = ["scheduled"]
    compose = yaml.safe_dump({"services": {"job": service}}, sort_keys=False)
    secrets = "".join(f"{name}=[[{name}]]\n" for name in job.secrets)
    variables = (
        f"# Make these secret Variables in Komodo: {', '.join(job.secrets)}\n" if secrets else ""
    )
    time = f"0 {job.minute} {job.hour} * * {job.day.upper() if job.day else '*'}"
    return f"""\
# A ResourceSync of Komodo reads this. Put the name of your server at "server".
{variables}
[[stack]]
name = "{job.name}"
[stack.config]
server = "Local"
environment = {_toml(secrets)}
file_contents = {_toml(compose)}

[[procedure]]
name = "{job.name}"
description = "Runs {job.about} in a container, which ends by itself."
config.schedule_format = "Cron"
config.schedule = "{time}"
config.failure_alert = true

[[procedure.config.stage]]
name = "Run"
enabled = true
executions = [
  {{ execution.type = "RunStackService", execution.params = {{ stack = "{job.name}", \
service = "job", no_tty = true }}, enabled = true }}
]
"""


KINDS: dict[str, Callable[[Job], str]] = {
    "systemd": _systemd,
    "cron": _cron,
    "kubernetes": _kubernetes,
    "komodo": _komodo,
}
"""Functions that return all parts, each with a comment that says where it belongs."""


def _file_of_secrets(job: Job) -> str:
    if not job.secrets:
        return ""
    lines = "".join(f"{name}='...'\n" for name in job.secrets)
    return f"# {_ENVIRONMENT}, which only root may read (chmod 600)\n{lines}\n"


def _program() -> str:
    """Return the path of the program that runs now, so that no PATH is needed."""
    beside = Path(sys.executable).with_name("fastdump")
    return f"{beside}" if beside.exists() else "fastdump"


def _logged(job: Job) -> tuple[str, ...]:
    is_chosen = any(word.partition("=")[0] == "--log-format" for word in job.words)
    return job.words if is_chosen else job.with_options("--log-format", "text")


def _for_systemd(word: str) -> str:
    """Quote a word as systemd.service(5) and systemd.unit(5) say."""
    word = word.replace("%", "%%").replace("$", "$$")
    if shlex.quote(word) == word:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml(text: str) -> str:
    """Return a string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
