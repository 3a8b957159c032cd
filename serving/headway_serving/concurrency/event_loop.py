"""Plain blocking code on an event loop: while it waits, the loop's thread serves others.

The core is written as a straight line that waits where it must. With one thread for each request, that line costs
more in switches between threads than in work, once requests are small and many. Here each request is a greenlet of the
loop's one thread instead: :func:`start` starts it, and :func:`wait_for`, called however deep inside, hands the loop
something to await. (SQLAlchemy runs its synchronous core under asyncio in the same way.)

What blocks without asking the loop would delay every request: whatever takes long goes through :func:`in_thread`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import greenlet

T = TypeVar("T")


class _OnLoop(greenlet.greenlet):
    """A greenlet that runs on a loop's thread and comes back to it whenever it waits."""

    loop: asyncio.AbstractEventLoop


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that the calling code may wait on with :func:`wait_for`; None in a thread of its own."""
    current = greenlet.getcurrent()
    return current.loop if isinstance(current, _OnLoop) else None


def start(loop: asyncio.AbstractEventLoop, work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Run blocking code on ``loop``, without a task; ``then`` gets its result, on the loop.

    For the loop's thread alone. ``work`` has a ``contextvars`` context of its own, and must not raise.
    """
    worker = _OnLoop(work)
    worker.loop = loop
    _advance(worker, worker.switch(), then)


def _advance(worker: _OnLoop, returned: Any, then: Callable[[Any], None]) -> None:
    """Use what ``worker`` came back with: its result if it has ended, else what it waits for."""
    if worker.dead:
        then(returned)
    else:
        asyncio.ensure_future(returned, loop=worker.loop).add_done_callback(partial(_resume, worker, then))


def _resume(worker: _OnLoop, then: Callable[[Any], None], waited_for: "asyncio.Future[Any]") -> None:
    # Whoever started it may have ended: it is the loop that it comes back to.
    worker.parent = greenlet.getcurrent()
    error: BaseException | None
    try:
        # Not result(), which would add this frame to the error's traceback: it holds the future, which holds the error.
        error = waited_for.exception()
    except asyncio.CancelledError as cancelled:
        error = cancelled
    returned = worker.switch(waited_for.result()) if error is None else worker.throw(error)
    _advance(worker, returned, then)


def wait_for(awaitable: Awaitable[T]) -> T:
    """The result of ``awaitable``, from code that :func:`start` has started. Raises what it raises."""
    parent = greenlet.getcurrent().parent
    assert parent is not None
    try:
        result: T = parent.switch(awaitable)
        return result
    finally:
        # A future holds its error, whose traceback holds this frame: without this, a cycle.
        del awaitable


def in_thread(executor: Executor, work: Callable[[], T]) -> T:
    """Have a thread of ``executor`` do what takes long; the caller waits, the loop it may be on does not."""
    loop = running_loop()
    if loop is None:
        return executor.submit(work).result()
    return wait_for(loop.run_in_executor(executor, work))
