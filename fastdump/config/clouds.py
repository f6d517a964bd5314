"""Read what the usual files say of an object store: the profiles of Amazon's command line.

The environment, which obstore reads by itself, wins over them. Google's and Azure's files are read
by obstore too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import Error, RawConfigParser
from pathlib import Path
from urllib.parse import urlsplit

from fastdump.errors import UsageError

__all__ = ["aws_profile", "checked_url"]

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_DEFAULT = "default"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")


def checked_url(url: str) -> str:
    """Return the URL of a place in an object store.

    Raises:
        UsageError: it names no bucket, or holds more than a bucket and a path.
    """
    parts = urlsplit(url)
    if set("@?#") & set(url) or ":" in parts.netloc:  # whatever it is, it is not shown
        raise UsageError(
            f"the {parts.scheme}:// address holds more than a bucket and a path: keys and settings "
            "go into the environment or a profile"
        )
    if not parts.netloc or any(one.startswith(".") for one in parts.path.split("/")):
        raise UsageError(
            f"{url} is no place in an object store: write {parts.scheme}://BUCKET/PATH"
        )
    return url


def aws_profile(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the keys, the region and the endpoint of the profile that AWS_PROFILE names.

    Without AWS_PROFILE it is the profile `default`, which need not exist. What the environment sets
    is left out.

    Raises:
        UsageError: there is no such profile, a file cannot be read, or an endpoint is no address.
    """
    for variable in _ENDPOINTS:
        _check_endpoint(variable, environment.get(variable))
    name = environment.get("AWS_PROFILE") or _DEFAULT
    found = {
        **_section(_file(environment, "AWS_CONFIG_FILE", "config"), f"profile {name}", name),
        **_section(_file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials"), name),
    }
    if not found and name != _DEFAULT:
        raise UsageError(f"AWS_PROFILE: the files in ~/.aws have no profile {name!r}")
    options: dict[str, str] = {}
    if "AWS_ACCESS_KEY_ID" not in environment:
        options |= {key: found[key] for key in _KEYS if key in found}
    if not {"AWS_REGION", "AWS_DEFAULT_REGION"} & environment.keys() and "region" in found:
        options["aws_region"] = found["region"]
    if "AWS_ENDPOINT_URL" not in environment and "endpoint_url" in found:
        _check_endpoint("endpoint_url in the profile", found["endpoint_url"])
        options["aws_endpoint_url"] = found["endpoint_url"]
    return options


def _check_endpoint(origin: str, text: str | None) -> None:
    parts = urlsplit(text or "http://host")
    is_text = not any(one.isspace() for one in text or "")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_text:
        raise UsageError(f"{origin} must be an address such as https://s3.example.com")


def _file(environment: Mapping[str, str], variable: str, name: str) -> Path:
    home = environment.get("HOME") or "~"
    return Path(environment.get(variable) or f"{home}/.aws/{name}").expanduser()


def _section(path: Path, *names: str) -> dict[str, str]:
    """Return the first of these sections that a file has."""
    parser = RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not an INI file"
        raise UsageError(f"{path}: {reason}") from None
    return next((dict(parser[name]) for name in names if parser.has_section(name)), {})
