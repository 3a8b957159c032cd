"""JSON documents, written in one way."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A document with its keys in the order of the mapping and its texts readable, ending in a line break."""
    # Half a surrogate pair, which no UTF-8 has, becomes the escape that JSON has for it.
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """A document as Flask sends it."""
    return Response(json_bytes(body), status, mimetype="application/json")
