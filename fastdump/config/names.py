"""The names of every setting: its option, its environment variables, its keys in Komodo's files.

Sources: Komodo's `DatabaseConfig`, `CliConfig` and their environment, as of version 2.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastdump.model import (
    CONSISTENCIES,
    DEFAULT_LATEST_ONLY,
    DEFAULT_MAX_LOCK_SECONDS,
    DEFAULT_RETRY_SECONDS,
    GZIP,
    PERIODS,
)

__all__ = [
    "CONNECTION_OPTIONS",
    "DEFAULT_FOLDER",
    "DEFAULT_MAX_BACKUPS",
    "LOG_FORMATS",
    "NOTIFY_ON",
    "OPTIONS",
    "SOURCE",
    "TARGET",
    "Name",
    "Origin",
    "default_workers",
]

DEFAULT_FOLDER = "/backups"
DEFAULT_MAX_BACKUPS = 14

LOG_FORMATS = ("text", "json")
"""Forms of the log: lines for people and journald, JSON for programs."""

NOTIFY_ON = ("failure", "always")
"""When messages are sent; the first is the default, and means after the next success too."""

_MAX_DEFAULT_WORKERS = 4


def default_workers() -> int:
    """Return the smaller of 4 and the number of cores that this process may use."""
    return min(_MAX_DEFAULT_WORKERS, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Name:
    """The names of one setting."""

    flag: str
    """Long option, without dashes in front."""
    variables: tuple[str, ...]
    """Environment variables, of which the first that is set wins."""
    keys: tuple[tuple[str, ...], ...]
    """Keys in a file, each a path through tables."""
    in_file: bool = False
    """True if each variable has a form with `_FILE`, which names a file with the value and wins."""
    flag_in_file: bool = False
    """True if the option names such a file too."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The names of all settings of one server, the source or the target.

    Source and target have different names on purpose: a machine that is set up for backups cannot
    restore by accident.
    """

    flag: str
    """Beginning of its options."""
    variables: tuple[str, ...]
    """Beginnings of its environment variables; the second is Komodo's older name."""
    tables: tuple[str, ...]
    """Table in a file; the second is Komodo's older name."""
    role: str
    """"source" or "target", for messages."""

    @property
    def variable(self) -> str:
        """The beginning of its environment variables, for messages."""
        return self.variables[0]

    def option(self, flag: str) -> Name:
        """Return the names of one of `CONNECTION_OPTIONS`."""
        name = f"{self.flag}{flag}"
        return Name(name, (_variable(name),), (("fastdump", name),))

    def name(self, item: str) -> Name:
        """Return the names of one item: uri, address, username, password, db_name or app_name."""
        flags = {"db_name": "db", "password": "password-file", "app_name": "app-name"}
        return Name(
            flag=f"{self.flag}{flags.get(item, item)}",
            variables=tuple(f"{prefix}{item.upper()}" for prefix in self.variables),
            keys=tuple((table, item) for table in self.tables),
            in_file=item in ("uri", "username", "password"),
            flag_in_file=item == "password",
        )


SOURCE = Origin("", ("KOMODO_DATABASE_", "KOMODO_MONGO_"), ("database", "mongo"), "source")
TARGET = Origin(
    "target-",
    ("KOMODO_CLI_DATABASE_TARGET_", "KOMODO_CLI_DATABASE_COPY_"),
    ("database_target", "database_copy"),
    "target",
)

ITEMS = ("uri", "address", "username", "password", "db_name", "app_name")
"""The settings that describe a server."""


@dataclass(frozen=True, slots=True)
class ConnectionOption:
    """An option of a connection string that is also an option of the command line."""

    uri: str
    """Name in a connection string."""
    alias: str | None
    """mongodump's name of the option, if it is another one."""
    about: str
    """Help of the option."""
    is_switch: bool = False
    is_file: bool = False
    """True if the command line names a file with the value."""


CONNECTION_OPTIONS = {
    "auth-source": ConnectionOption(
        "authSource", "authenticationDatabase", "database in which the user is defined"
    ),
    "auth-mechanism": ConnectionOption(
        "authMechanism",
        "authenticationMechanism",
        "for example SCRAM-SHA-256, MONGODB-X509 or GSSAPI",
    ),
    "auth-mechanism-properties": ConnectionOption(
        "authMechanismProperties", None, "NAME:VALUE,… for example SERVICE_NAME:mongodb"
    ),
    "tls": ConnectionOption("tls", "ssl", "use TLS", is_switch=True),
    "tls-ca-file": ConnectionOption(
        "tlsCAFile", "sslCAFile", "trust these certificate authorities"
    ),
    "tls-certificate-key-file": ConnectionOption(
        "tlsCertificateKeyFile", "sslPEMKeyFile", "certificate and key of the client"
    ),
    "tls-certificate-key-password-file": ConnectionOption(
        "tlsCertificateKeyFilePassword",
        None,
        "read the password of that key from this file",
        is_file=True,
    ),
    "tls-crl-file": ConnectionOption("tlsCRLFile", "sslCRLFile", "list of revoked certificates"),
    "tls-allow-invalid-certificates": ConnectionOption(
        "tlsAllowInvalidCertificates",
        "sslAllowInvalidCertificates",
        "accept a server certificate that nobody trusted signed",
        is_switch=True,
    ),
    "tls-allow-invalid-hostnames": ConnectionOption(
        "tlsAllowInvalidHostnames",
        "sslAllowInvalidHostnames",
        "accept a server certificate with another host name",
        is_switch=True,
    ),
    "tls-insecure": ConnectionOption(
        "tlsInsecure", "tlsInsecure", "accept any server certificate and host name", is_switch=True
    ),
}
"""Connection options by their long option; that of a target begins with `target-`."""


def _variable(flag: str) -> str:
    return f"FASTDUMP_{flag.upper().replace('-', '_')}"


def _option(flag: str) -> Name:
    return Name(flag, (_variable(flag),), (("fastdump", flag),))


def _secret(flag: str, variable: str) -> Name:
    return Name(flag, (variable,), (), in_file=True, flag_in_file=True)


def _address(flag: str) -> Name:
    """Return the names of an address that may hold a secret."""
    return Name(flag, (_variable(flag),), (("fastdump", flag),), in_file=True)


OPTIONS: dict[str, tuple[Name, str]] = {
    "encrypt-to": (_option("encrypt-to"), ""),
    "identity": (_option("identity"), ""),
    "passphrase-file": (_secret("passphrase-file", "FASTDUMP_PASSPHRASE"), ""),
    "new-passphrase-file": (_secret("new-passphrase-file", "FASTDUMP_NEW_PASSPHRASE"), ""),
    "folder": (
        Name("folder", ("KOMODO_CLI_BACKUPS_FOLDER",), (("backups_folder",),)),
        DEFAULT_FOLDER,
    ),
    "max-backups": (
        Name("max-backups", ("KOMODO_CLI_MAX_BACKUPS",), (("max_backups",),)),
        f"{DEFAULT_MAX_BACKUPS}",
    ),
    "keep-within": (_option("keep-within"), ""),
    **{f"keep-{rule}": (_option(f"keep-{rule}"), "") for rule in PERIODS},
    "max-age": (_option("max-age"), ""),
    "max-unverified": (_option("max-unverified"), ""),
    "min-documents": (_option("min-documents"), ""),
    "max-shrink": (_option("max-shrink"), ""),
    "metrics": (_option("metrics"), ""),
    "heartbeat": (_address("heartbeat"), ""),
    "notify": (_address("notify"), ""),
    "notify-on": (_option("notify-on"), NOTIFY_ON[0]),
    "layout": (_option("layout"), ""),
    "latest-only": (_option("latest-only"), ",".join(DEFAULT_LATEST_ONLY)),
    "workers": (_option("workers"), f"{default_workers()}"),
    "level": (_option("level"), ""),
    "write-concern": (_option("write-concern"), ""),
    "consistency": (_option("consistency"), CONSISTENCIES[0]),
    "raise-snapshot-window": (_option("raise-snapshot-window"), "false"),
    "max-lock-seconds": (_option("max-lock-seconds"), f"{DEFAULT_MAX_LOCK_SECONDS:.0f}"),
    "retry-for": (_option("retry-for"), f"{DEFAULT_RETRY_SECONDS:.0f}"),
    "max-rate": (_option("max-rate"), ""),
    "mode": (_option("mode"), "600"),
    "out": (_option("out"), ""),
    "compression": (
        Name(
            "compression",
            ("FASTDUMP_COMPRESSION", "FASTDUMP_GZIP"),
            (("fastdump", "compression"), ("fastdump", "gzip")),
        ),
        GZIP,
    ),
    "collection": (_option("collection"), ""),
    "exclude-collection": (_option("exclude-collection"), ""),
    "query": (_option("query"), ""),
    "query-file": (_option("query-file"), ""),
    "read-preference": (_option("read-preference"), ""),
    "ns-include": (_option("ns-include"), ""),
    "ns-exclude": (_option("ns-exclude"), ""),
    "ns-from": (_option("ns-from"), ""),
    "ns-to": (_option("ns-to"), ""),
    "oplog-limit": (_option("oplog-limit"), ""),
    "oplog-file": (_option("oplog-file"), ""),
    "target-collection": (_option("target-collection"), ""),
    "progress": (_option("progress"), "auto"),
    "log-format": (_option("log-format"), ""),
    "size": (_option("size"), "200"),
}
"""The other settings, each with its default; an empty one means none, or that of the server, or for
`layout` what suits the place."""
