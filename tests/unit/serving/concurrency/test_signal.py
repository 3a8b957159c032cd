"""What waits for a signal in a thread or on a loop goes on when it is set, from wherever that is."""

import asyncio
import threading

from headway_serving.concurrency.signal import Signal
from tests.support.on_loop import run


def test_a_thread_waits_until_it_is_set_or_the_time_is_over() -> None:
    signal = Signal()
    assert not signal.wait(0.01)
    threading.Timer(0.01, signal.set).start()
    assert signal.wait(30)
    assert signal.wait(0)


def test_on_a_loop_it_is_set_by_other_code_of_the_loop_or_by_a_thread() -> None:
    made: list[Signal] = []

    def waits() -> bool:
        made.append(Signal())
        return made[-1].wait(30)

    async def main() -> list[bool]:
        first, second = asyncio.ensure_future(run(waits)), asyncio.ensure_future(run(waits))
        await asyncio.sleep(0)
        await run(made[0].set)
        threading.Thread(target=made[1].set).start()
        return [await first, await second]

    assert asyncio.run(main()) == [True, True]


def test_on_a_loop_the_time_ends_and_what_is_set_later_harms_nobody() -> None:
    made: list[Signal] = []

    def waits() -> bool:
        made.append(Signal())
        return made[0].wait(0.01)

    assert asyncio.run(run(waits)) is False
    made[0].set()
