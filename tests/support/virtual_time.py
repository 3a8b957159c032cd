"""An event loop whose time passes only while nothing is to be done: hours of queueing in seconds, the same each time.

It runs the code itself, not a model of it: what takes time in a test (a model server, clients) sleeps on the loop.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class _NothingToSelect(selectors.BaseSelector):
    """Instead of waiting for files, lets time pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nothing will ever happen"
        self.now += timeout
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop. Its ``time`` is the clock for the code that is tested."""

    def __init__(self) -> None:
        self._virtual = _NothingToSelect()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds."""
        return self._virtual.now


def run(main: Callable[[VirtualTimeLoop], Awaitable[T]]) -> T:
    """What ``main`` returns, once it was run to its end."""
    loop = VirtualTimeLoop()

    async def started() -> T:
        return await main(loop)

    try:
        return loop.run_until_complete(started())
    finally:
        loop.close()
