"""Removes secrets from what is sent, written and printed.

Secrets are the values of environment variables whose names say so, and passwords in addresses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

SECRET_NAME = re.compile(
    r"(^|_)(API_?KEY|KEY|TOKEN|PAT|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|COOKIE|DSN)(_|$)", re.IGNORECASE
)
IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^@\s/]+)@")  # scheme://user:password@host
SHORTEST = 8  # characters; a shorter value, such as 1 or true, occurs in many harmless words
REPLACEMENT = "[redacted]"


def _secrets(shortest: int = SHORTEST) -> list[str]:
    """The values of secret variables, longest first, because one may be a part of another."""
    values = {value for name, value in os.environ.items() if SECRET_NAME.search(name)}
    values |= {password for value in os.environ.values() if "://" in value for password in IN_ADDRESS.findall(value)}
    return sorted((value for value in values if len(value) >= shortest), key=len, reverse=True)


def holds_secret(value: Any, shortest: int = SHORTEST) -> bool:
    """Whether a secret of at least so many characters is in one of its strings, at any depth."""
    secrets = _secrets(shortest)
    return bool(secrets) and _replace(value, secrets) != value


def redacted(value: Any) -> Any:
    """The same value with every secret in its strings replaced, at any depth, in keys too."""
    secrets = _secrets()
    return _replace(value, secrets) if secrets else value


def _replace(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REPLACEMENT)
        return value
    if isinstance(value, Mapping):
        return {_replace(key, secrets): _replace(inner, secrets) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(inner, secrets) for inner in value)
    return value
