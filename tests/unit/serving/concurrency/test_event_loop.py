"""Blocking code on an event loop waits without holding up the loop."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial

import pytest

from headway_serving.concurrency.event_loop import in_thread, running_loop, start, wait_for
from tests.support.on_loop import run


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_code_that_waits_lets_others_go_on_and_gets_what_it_waited_for() -> None:
    order: list[str] = []

    async def main() -> list[int]:
        opened = asyncio.Event()

        def waits() -> int:
            order.append("waits")
            wait_for(opened.wait())
            order.append("goes on")
            return 1

        def opens() -> int:
            order.append("opens")
            opened.set()
            return 2

        return list(await asyncio.gather(run(waits), run(opens)))

    assert asyncio.run(main()) == [1, 2]
    assert order == ["waits", "opens", "goes on"]


def test_what_is_started_gives_its_result_on_the_loop_when_it_has_one() -> None:
    results: list[str] = []

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def works(name: str, seconds: float) -> str:
            wait_for(asyncio.sleep(seconds))
            return name

        def finish(name: str) -> None:
            results.append(name)
            done.set()

        def starts_another() -> str:
            # It waits while its starter continues, and ends after it.
            start(loop, lambda: works("inner", 0.05), finish)
            return works("outer", 0.01)

        start(loop, lambda: "at once", results.append)
        assert results == ["at once"]
        start(loop, starts_another, results.append)
        assert results == ["at once"]
        await done.wait()

    asyncio.run(main())
    assert results == ["at once", "outer", "inner"]


def test_an_error_of_what_is_waited_for_is_raised_where_it_is_waited_for() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("lost")

    def work() -> str:
        try:
            wait_for(fails())
        except KeyError as error:
            return f"caught {error.args[0]}"
        return "nothing"

    assert asyncio.run(run(work)) == "caught lost"


def test_an_error_of_the_code_reaches_who_runs_it() -> None:
    def work() -> None:
        wait_for(asyncio.sleep(0))
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        asyncio.run(run(work))


def test_code_whose_wait_is_cancelled_ends_where_it_waits() -> None:
    async def main() -> None:
        waited_for = asyncio.get_running_loop().create_future()
        running = asyncio.ensure_future(run(lambda: wait_for(waited_for)))
        await asyncio.sleep(0)
        waited_for.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


class Large:
    """Something that a failing request holds."""


def test_an_error_that_was_waited_for_leaves_no_cycle_behind() -> None:
    """Else what the request held would stay until Python's collector runs."""
    kept: list[weakref.ref[Large]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def failing() -> "asyncio.Future[None]":
            future = loop.create_future()
            loop.call_soon(future.set_exception, KeyError("lost"))
            return future

        def request() -> str:
            large = Large()
            kept.append(weakref.ref(large))
            try:
                wait_for(failing())
            except KeyError:
                return "failed"
            return "answered"

        assert await run(request) == "failed"

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        assert kept[0]() is None
    finally:
        gc.enable()


def test_each_has_context_variables_of_its_own() -> None:
    who: ContextVar[str] = ContextVar("who")

    def work(name: str) -> str:
        who.set(name)
        wait_for(asyncio.sleep(0.01))
        return who.get()

    async def main() -> list[str]:
        return await asyncio.gather(*(run(partial(work, name)) for name in "abc"))

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_what_takes_long_runs_in_another_thread_while_the_loop_serves_others(pool: ThreadPoolExecutor) -> None:
    async def main() -> tuple[threading.Thread, threading.Thread]:
        release = threading.Event()

        def slow() -> threading.Thread:
            assert release.wait(20)
            return threading.current_thread()

        async def ticks() -> threading.Thread:
            release.set()
            return threading.current_thread()

        return await asyncio.gather(run(lambda: in_thread(pool, slow)), ticks())

    worker, loops = asyncio.run(main())
    assert worker is not loops is threading.current_thread()


def test_in_a_thread_of_its_own_the_caller_waits(pool: ThreadPoolExecutor) -> None:
    assert running_loop() is None
    assert in_thread(pool, threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        in_thread(pool, lambda: 1 // 0)
