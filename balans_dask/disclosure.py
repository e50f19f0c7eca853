"""What may be told: how a bucket is reached stays out of messages, records and scripts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["HIDDEN", "keep_secret", "public", "public_arguments", "public_option", "public_script"]

HIDDEN = "..."
"""Stands where a secret was."""
STORAGE_OPTION = "--storage-option"
OPEN_OPTIONS = {
    "anon", "endpoint_url", "profile", "project", "region", "region_name", "requester_pays",
    "use_ssl",
}  # fmt: skip
"""Storage options of which the value may be told, but for the login of a URL."""
SHORTEST = 8
"""Characters; what is shorter is no key, and may be a word of any message."""
# One slash is left of two where a URL was taken for a path.
_LOGIN = re.compile(r"(\b[A-Za-z][\w+.-]+:/{1,2})[^/\s'\"]*@")
_QUERY = re.compile(r"(\bhttps?:/{1,2}[^\s?#'\"]*[?#])[^\s'\")\]]+")
_ASSIGNED = re.compile(
    r"(\b\w*(?:SECRET|TOKEN|PASSWORD|PASSWD|ACCESS_KEY|API_KEY)\w*=)"
    r"(?![\"']?\$)(\"[^\"\n]*\"|'[^'\n]*'|[^\s;&]+)",
    re.IGNORECASE,
)
_kept: set[str] = set()


def keep_secret(options: Mapping[str, Any]) -> None:
    """Remember the values of storage options that no text may hold, as long as the process lives.

    Parameters
    ----------
    options : mapping
        Of fsspec's file systems; nested ones too.
    """
    for name, value in options.items():
        if isinstance(value, Mapping):
            keep_secret(value)
        elif isinstance(value, str) and name not in OPEN_OPTIONS and len(value) >= SHORTEST:
            _kept.add(value)


def public(text: str) -> str:
    """Hide the values of storage options, and the login and the query of every URL."""
    for secret in sorted(_kept, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def public_option(given: str) -> str:
    """Hide the value of ``KEY=VALUE``, unless it says only where a bucket is."""
    name, _, value = given.partition("=")
    return f"{name}={public(value) if name in OPEN_OPTIONS else HIDDEN}"


def public_arguments(arguments: Sequence[str]) -> list[str]:
    """Hide secrets in the arguments of a command, which stays one that can be completed."""
    found: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if found and found[-1] == STORAGE_OPTION:
            found.append(public_option(argument))
        elif flag == STORAGE_OPTION and equals:
            found.append(f"{flag}={public_option(value)}")
        else:
            found.append(public(argument))
    return found


def public_script(script: str) -> str:
    """Hide what a shell script assigns to names of secrets, but for other variables."""
    return _ASSIGNED.sub(rf"\1{HIDDEN}", public(script))
