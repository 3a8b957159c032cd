"""What every request that runs a model says in the same way, whatever door it takes: time, routing key, version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from headway_serving.core.errors import InvalidRequest
from headway_serving.core.requests import Deadline
from headway_serving.gateway.requests.identity import current


class HeaderValues(Protocol):
    """The headers of a request."""

    def get(self, name: str, /) -> str | None:
        """The value of a header, whatever the case of its name, or None."""
        ...


class Asked(Protocol):
    """What is read of a request; werkzeug's ``Request`` has it, and :class:`~.picture_posts.PicturePost`."""

    @property
    def headers(self) -> HeaderValues:
        """Its headers."""
        ...

    @property
    def path(self) -> str:
        """Where it goes, without parameters."""
        ...

    @property
    def query_string(self) -> bytes:
        """Its parameters as they were sent; empty without any."""
        ...

    @property
    def args(self) -> Mapping[str, str]:
        """Its parameters by name."""
        ...


@dataclass(frozen=True)
class RequestRules:
    """What one request may ask for: pictures, and milliseconds when it names none and at most."""

    max_images: int
    timeout_ms: int
    max_timeout_ms: int


def deadline_of(http: Asked, rules: RequestRules) -> Deadline:
    """The moment ``X-Request-Timeout-Ms`` asks for, or the usual one. Raises :class:`InvalidRequest`."""
    text, since = http.headers.get("X-Request-Timeout-Ms"), current().received_at
    if text is None:
        return Deadline(rules.timeout_ms / 1000, since)
    whole = text.isascii() and text.isdecimal() and len(text) <= 12
    if not (whole and 1 <= int(text) <= rules.max_timeout_ms):
        raise InvalidRequest(f"X-Request-Timeout-Ms must be whole milliseconds from 1 to {rules.max_timeout_ms}")
    return Deadline(int(text) / 1000, since)


def routing_key(http: Asked) -> str:
    """``X-Routing-Key``, else the name of the caller's token, else the request's id, which spreads over the arms."""
    identity = current()
    return http.headers.get("X-Routing-Key") or identity.caller or identity.request_id


def version_number(text: str | None) -> int | None:
    """The version a path names, or None if it names none. Raises :class:`InvalidRequest`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest(f"version {text[:40]!r} is not a version number; write a number, as in /versions/3")
    return int(text)
