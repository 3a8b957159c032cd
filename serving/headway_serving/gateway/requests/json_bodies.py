"""JSON bodies, parsed only if they are small in parts: while a parser works, every other request waits."""

import json
from typing import Any

from headway_serving.core.errors import InvalidRequest


def parse_json(body: bytes, most_values: int) -> Any:
    """The document in ``body``. Raises :class:`InvalidRequest` if it is none, or has more than ``most_values`` values.

    Values are counted by the signs that part them, before anything is parsed: megabytes of text are cheap to parse,
    megabytes of small lists are not.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise InvalidRequest(
            f"the JSON holds more than {most_values:,} values; send less at once, and pictures as files or binary data"
        )
    try:
        return json.loads(body)
    # RecursionError: brackets nested beyond what the parser follows.
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
