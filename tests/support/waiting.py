"""Waiting for what another thread or process brings about."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Return as soon as a condition holds. It is a hang, not slowness, that fails."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"did not happen within {seconds} s: {what}"
        time.sleep(0.01)
