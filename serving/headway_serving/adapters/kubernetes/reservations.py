"""What is reserved of a ConfigMap, by whom, and when that was renewed: an annotation of the object itself.

As a Lease of coordination.k8s.io has it, but in the same object: so a write of the object is at once a proof that the
reservation still stands, and a Role needs no further kind of object.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RESERVATIONS = "headway.dev/reservations"
"""The annotation: a JSON object, by name."""

SECONDS = 15.0
"""What is not renewed for so long is taken over; as long as Kubernetes' own controllers wait for each other."""

RENEW_SECONDS = 4.0
LOOK_SECONDS = 1.0

Object = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """``renewed``: Unix time of the holder's clock."""

    holder: str
    renewed: float


def new_holder() -> str:
    """A name that no other process has, and no later one of this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def of(found: Object) -> Mapping[str, Record]:
    """The reservations of an object; an annotation that somebody has spoiled reserves nothing."""
    text = (found["metadata"].get("annotations") or {}).get(RESERVATIONS, "{}")
    try:
        return {
            str(name): Record(str(each["holder"]), float(each["renewed"])) for name, each in json.loads(text).items()
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def with_record(found: Object, name: str, holder: str) -> Object:
    """The object with a reservation that is renewed now."""
    return _written(found, {**of(found), name: Record(holder, round(time.time(), 3))})


def without_record(found: Object, name: str) -> Object:
    """The object without a reservation."""
    return _written(found, {each: record for each, record in of(found).items() if each != name})


def _written(found: Object, records: Mapping[str, Record]) -> Object:
    text = json.dumps({name: {"holder": each.holder, "renewed": each.renewed} for name, each in records.items()})
    annotations = {**(found["metadata"].get("annotations") or {}), RESERVATIONS: text}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}
