"""Blocking code that a test starts on an event loop, awaited as a coroutine."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from headway_serving.concurrency.event_loop import start

T = TypeVar("T")


async def run(work: Callable[[], T]) -> T:
    """What code that was started on this loop returns or raises."""
    ended: asyncio.Future[Callable[[], T]] = asyncio.get_running_loop().create_future()

    def caught() -> Callable[[], T]:
        try:
            result = work()
        except BaseException as raised:
            error = raised

            def fail() -> T:
                raise error

            return fail
        return lambda: result

    start(asyncio.get_running_loop(), caught, ended.set_result)
    return (await ended)()
