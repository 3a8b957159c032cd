"""Plain blocking code on an event loop: while it waits, the loop's thread serves others.

The core is written as a straight line that waits where it must. With one thread for each request, that line costs
more in switches between threads than in work, once requests are small and many. Here each request is a greenlet of the
loop's one thread instead: :func:`run` or :func:`start` starts it, and :func:`wait_for`, called however deep inside,
hands the loop something to await. (SQLAlchemy runs its synchronous core under asyncio in the same way.)

What blocks without asking the loop would hold up everybody: whatever takes long or waits goes through :func:`aside`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import greenlet

T = TypeVar("T")


class _OnLoop(greenlet.greenlet):
    """A greenlet whose parent awaits for it."""

    loop: asyncio.AbstractEventLoop


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that the calling code may wait on with :func:`wait_for`; None in a thread of its own."""
    current = greenlet.getcurrent()
    return current.loop if isinstance(current, _OnLoop) else None


async def run(work: Callable[[], T]) -> T:
    """Run blocking code on this loop; it has a ``contextvars`` context of its own. Raises what ``work`` raises."""
    worker = _OnLoop(work)
    worker.loop = asyncio.get_running_loop()
    asked = worker.switch()
    while not worker.dead:
        try:
            value = await asked
        # Whatever it is, a cancellation too, it happened to the code that waits.
        except BaseException as error:
            asked = worker.throw(error)
        else:
            asked = worker.switch(value)
    result: T = asked
    return result


def start(loop: asyncio.AbstractEventLoop, work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Run blocking code on ``loop`` as :func:`run` does, without a task; ``then`` gets its result, on the loop.

    For the loop's thread alone. ``work`` must not raise.
    """
    worker = _OnLoop(work)
    worker.loop = loop
    _go_on(worker, worker.switch(), then)


def _go_on(worker: _OnLoop, said: Any, then: Callable[[Any], None]) -> None:
    """What ``worker`` said is its result if it has ended, else what it waits for."""
    if worker.dead:
        then(said)
    else:
        asyncio.ensure_future(said, loop=worker.loop).add_done_callback(partial(_resume, worker, then))


def _resume(worker: _OnLoop, then: Callable[[Any], None], waited_for: "asyncio.Future[Any]") -> None:
    # Whoever started it may have ended: it is the loop that it comes back to.
    worker.parent = greenlet.getcurrent()
    try:
        value = waited_for.result()
    # Whatever it is, a cancellation too, it happened to the code that waits.
    except BaseException as error:
        said = worker.throw(error)
    else:
        said = worker.switch(value)
    _go_on(worker, said, then)


def wait_for(awaitable: Awaitable[T]) -> T:
    """The result of ``awaitable``, from code that :func:`run` or :func:`start` has started. Raises what it raises."""
    parent = greenlet.getcurrent().parent
    assert parent is not None
    result: T = parent.switch(awaitable)
    return result


def aside(executor: Executor, work: Callable[[], T]) -> T:
    """Have a thread of ``executor`` do what takes long; the caller waits, the loop it may be on does not."""
    loop = running_loop()
    if loop is None:
        return executor.submit(work).result()
    return wait_for(loop.run_in_executor(executor, work))
