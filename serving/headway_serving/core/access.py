"""Who may do what: scopes, and the tokens that carry them."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a token allows; none contains another."""

    CLASSIFY = "classify"
    """To have pictures classified and to see which models there are."""
    FEEDBACK = "feedback"
    """To tell the truth about answers, which rollouts are decided by."""
    ADMIN = "admin"
    """To read the metrics and to administer."""


@dataclass(frozen=True)
class Token:
    """One token: its holder's name, what it allows, and the SHA-256 of its text as 64 hexadecimal digits."""

    name: str
    scopes: frozenset[Scope]
    sha256: str


@dataclass(frozen=True)
class Tokens:
    """All tokens of one moment; never changed, only replaced."""

    entries: Sequence[Token]

    def holder_of(self, secret: str) -> Token | None:
        """The token with this text, or None. Takes the same time whichever it is, and if it is none."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for entry in self.entries:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return found
