"""``tokens.json``: who may call the gateway, and for what. It holds digests, so reading it lets nobody in.

::

    {"schema": 1, "tokens": [{"name": "camera-7", "scopes": ["classify"], "sha256": "<64 hexadecimal digits>"}]}

``sha256`` is the digest of the token's text. Tokens are long random texts, so that a plain digest cannot be guessed
back; passwords do not belong here. A file that cannot be used is refused with the reason; the last good one stays.
"""

import json
import re
from pathlib import Path
from typing import Any

from headway_serving.adapters.files.watched_file import WatchedFile, read_whole
from headway_serving.core.access import Scope, Token, Tokens

TOKENS_SCHEMA = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class InvalidTokens(Exception):
    """The tokens file cannot be read or used; the text says what is wrong and where, and repeats no token."""


def parse_tokens(text: str | bytes) -> Tokens:
    """Read the JSON form. Raises :class:`InvalidTokens`."""
    try:
        document = json.loads(text)
    # RecursionError: brackets nested beyond what the parser follows.
    except (ValueError, RecursionError) as error:
        raise InvalidTokens(f"not JSON: {error}") from error
    document = _section(document, "the file", {"schema", "tokens"})
    if document["schema"] != TOKENS_SCHEMA:
        raise InvalidTokens(f"schema {document['schema']!r} is unknown to this release; {TOKENS_SCHEMA} is known")
    if not isinstance(document["tokens"], list):
        raise InvalidTokens("tokens: a list is needed")
    entries = [_token(value, f"tokens[{index}]") for index, value in enumerate(document["tokens"])]
    for field, values in (("name", [each.name for each in entries]), ("sha256", [each.sha256 for each in entries])):
        twice = next((index for index, value in enumerate(values) if value in values[:index]), None)
        if twice is not None:
            raise InvalidTokens(f"tokens[{twice}].{field}: stands there twice")
    return Tokens(entries)


def read_tokens(path: Path) -> Tokens:
    """Read a tokens file. Raises :class:`InvalidTokens` naming the file and what is wrong with it."""
    return read_whole(path, parse_tokens, InvalidTokens, "tokens")


class TokenFile(WatchedFile[Tokens]):
    """The tokens of a file, kept current: one that was taken out opens nothing within ``poll_seconds``."""

    def __init__(self, path: Path, poll_seconds: float) -> None:
        """Read the file. Raises :class:`InvalidTokens`: without it, no caller is known."""
        super().__init__(path, poll_seconds, read=read_tokens, refusal=InvalidTokens, what="tokens")


def _token(value: Any, where: str) -> Token:
    entry = _section(value, where, {"name", "scopes", "sha256"})
    name, digest, scopes = entry["name"], entry["sha256"], entry["scopes"]
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise InvalidTokens(f"{where}.name: 1 to 64 letters, digits and . _ - are needed")
    # Not repeated in the text: somebody may have put the token itself there.
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise InvalidTokens(f"{where}.sha256: the 64 small hexadecimal digits that sha256sum prints are needed")
    known = [scope.value for scope in Scope]
    if not (isinstance(scopes, list) and scopes and all(scope in known for scope in scopes)):
        raise InvalidTokens(f"{where}.scopes: a list of {', '.join(known[:-1])} and {known[-1]} is needed")
    return Token(name, frozenset(map(Scope, scopes)), digest)


def _section(value: Any, where: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidTokens(f"{where}: an object is needed")
    missing, unknown = sorted(keys - set(value)), sorted(set(value) - keys)
    if missing:
        raise InvalidTokens(f"{where}: missing {', '.join(missing)}")
    if unknown:
        raise InvalidTokens(f"{where}: {len(unknown)} unknown keys; known: {', '.join(sorted(keys))}")
    return value
