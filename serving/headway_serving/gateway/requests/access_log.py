"""One line for each classification: what was asked, what came of it and where its time went.

No picture and no text of a client is in it but the request's id, which is harmless (:mod:`.identity`); a picture is
known by its digest. Off by default: with pictures of digits a line costs a tenth of what the whole answer does.
"""

import hashlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headway_contract.errors import InvalidImage
from headway_serving.adapters.logs.fields import Fields
from headway_serving.adapters.metrics.observations import Observation
from headway_serving.gateway.requests.identity import RequestIdentity

_log = logging.getLogger("headway.access")

_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class AccessLog:
    """Writes the lines. ``share`` (0 to 1) of what was answered leaves one, and everything that was not."""

    share: float = 1.0
    draw: Callable[[], float] = random.random

    def write(self, seen: Observation, identity: RequestIdentity, pictures: Sequence[bytes]) -> None:
        """Write the line of a request, if it is drawn. ``pictures``: as they were sent."""
        if seen.code == "ok" and self.share < 1 and self.draw() >= self.share:
            return
        route = seen.route
        first = _first(seen)
        _log.info(
            Fields({
                "request_id": identity.request_id,
                "trace_id": identity.trace_id,
                "model": seen.model,
                "version": route.version if route else None,
                "arm": route.arm.value if route else None,
                "reason": route.reason if route else None,
                "fallback_from": seen.fallback.route.version if seen.fallback else None,
                "code": seen.code,
                "status": seen.status,
                "shed": seen.shed,
                "images": seen.images,
                "ms": round(seen.seconds * 1000, 3),
                "stages_ms": {stage: round(spent * 1000, 3) for stage, spent in seen.stage_seconds.items()},
                "label": first[0],
                "score": first[1],
                "picture_sha256": _digest(pictures),
                "picture_bytes": seen.body_bytes,
                "token": identity.caller,
            })
        )  # fmt: skip


def _first(seen: Observation) -> tuple[Any, Any]:
    """Label and score of the first picture, if it has any."""
    result = seen.results[0] if seen.results else ()
    return (None, None) if isinstance(result, InvalidImage) or not result else (result[0].label, result[0].score)


def _digest(pictures: Sequence[bytes]) -> str | None:
    """The first digits of the first picture's SHA-256."""
    return hashlib.sha256(pictures[0]).hexdigest()[:_DIGEST_DIGITS] if pictures else None
