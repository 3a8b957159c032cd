"""Waiting for what another thread brings about."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition` holds; fail after 30 seconds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"did not happen within 30 s: {what}"
        time.sleep(0.005)
