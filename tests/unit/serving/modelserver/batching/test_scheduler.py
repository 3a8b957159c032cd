"""Tasks meet in batches; the threads are shared; nothing waits for ever."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from headway_serving.modelserver.batching.parameters import BatchingParameters
from headway_serving.modelserver.batching.scheduler import BatchQueue, BatchScheduler
from headway_serving.modelserver.errors import StatusError
from tests.support.waiting import eventually

HOUR = 3_600_000_000


@dataclass(frozen=True)
class Rows:
    size: int
    name: str = ""


def cut(task: Rows, sizes: Sequence[int]) -> list[Rows]:
    return [Rows(size, task.name) for size in sizes]


class Batches:
    """Records the batches that ran; while `gate` is shut they wait."""

    def __init__(self) -> None:
        self.ran: list[list[int]] = []
        self.running = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, tasks: Sequence[Rows]) -> None:
        self.running += 1
        assert self.gate.wait(timeout=30)
        self.ran.append([task.size for task in tasks])


@pytest.fixture
def batches() -> Batches:
    return Batches()


Add = Callable[[BatchingParameters], BatchQueue[Rows]]


@pytest.fixture
def add(batches: Batches) -> Iterator[Add]:
    scheduler = BatchScheduler[Rows](1, "test")
    yield lambda parameters: scheduler.add_queue(parameters, batches, cut)
    batches.gate.set()
    scheduler.stop()


def test_a_full_batch_runs_at_once_and_the_next_task_opens_another(add: Add, batches: Batches) -> None:
    queue = add(BatchingParameters(max_batch_size=4, batch_timeout_micros=HOUR))
    for size in (1, 3, 2):
        queue.schedule(Rows(size))
    eventually(lambda: batches.ran == [[1, 3]], "the full batch alone")
    queue.schedule(Rows(2))
    eventually(lambda: batches.ran == [[1, 3], [2, 2]], "the second batch")


def test_a_task_that_does_not_fit_closes_the_batch_before_it(add: Add, batches: Batches) -> None:
    queue = add(BatchingParameters(max_batch_size=4, batch_timeout_micros=HOUR))
    queue.schedule(Rows(3))
    queue.schedule(Rows(2))
    eventually(lambda: batches.ran == [[3]], "the batch that could take no more")


def test_a_batch_waits_no_longer_than_the_timeout(add: Add, batches: Batches) -> None:
    queue = add(BatchingParameters(max_batch_size=100, batch_timeout_micros=20_000))
    queue.schedule(Rows(1))
    eventually(lambda: batches.ran == [[1]], "the timeout")


def test_while_the_threads_are_busy_tasks_gather(add: Add, batches: Batches) -> None:
    queue = add(BatchingParameters(max_batch_size=100))
    batches.gate.clear()
    queue.schedule(Rows(1))
    eventually(lambda: batches.running == 1, "the first batch running")
    for _ in range(5):
        queue.schedule(Rows(2))
    batches.gate.set()
    eventually(lambda: batches.ran == [[1], [2] * 5], "one batch of all that came meanwhile")


def test_a_full_queue_refuses(add: Add, batches: Batches) -> None:
    queue = add(BatchingParameters(max_batch_size=2, max_enqueued_batches=2, batch_timeout_micros=HOUR))
    batches.gate.clear()
    queue.schedule(Rows(2))
    eventually(lambda: batches.running == 1, "the first batch running")
    queue.schedule(Rows(2))
    queue.schedule(Rows(1))
    with pytest.raises(StatusError) as caught:
        queue.schedule(Rows(2))
    assert str(caught.value) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 2 batches "
        "enqueued and max_enqueued_batches is 2"
    )
    queue.schedule(Rows(1))  # still fits into the open batch
    batches.gate.set()
    eventually(lambda: batches.ran == [[2], [2], [1, 1]], "all that was accepted")


def test_splitting_fills_the_open_batch_first(add: Add, batches: Batches) -> None:
    parameters = BatchingParameters(
        max_batch_size=9, max_execution_batch_size=4, enable_large_batch_splitting=True, batch_timeout_micros=HOUR
    )
    queue = add(parameters)
    queue.schedule(Rows(1, "small"))
    parts = queue.schedule(Rows(9, "large"))
    assert [part.size for part in parts] == [3, 4, 2]
    eventually(lambda: batches.ran == [[1, 3], [4]], "two full batches")
    with pytest.raises(StatusError, match="Task size 10 is larger than maximum input batch size 9"):
        queue.schedule(Rows(10))


def test_splitting_refuses_what_the_queue_has_no_room_for(add: Add, batches: Batches) -> None:
    parameters = BatchingParameters(
        max_batch_size=100, max_execution_batch_size=2, enable_large_batch_splitting=True, max_enqueued_batches=2
    )
    with pytest.raises(StatusError) as caught:
        add(parameters).schedule(Rows(5))
    assert str(caught.value) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; task size is 5 but "
        "scheduling capacity is only 4 (num_enqueued_batches=1, max_enqueued_batches=2, open_batch_size=0, "
        "max_execution_batch_size=2)"
    )


def test_queues_take_turns_on_the_thread(add: Add, batches: Batches) -> None:
    busy = add(BatchingParameters(max_batch_size=1))
    other = add(BatchingParameters(max_batch_size=2))
    batches.gate.clear()
    for _ in range(5):
        busy.schedule(Rows(1))
    eventually(lambda: batches.running == 1, "the first batch running")
    other.schedule(Rows(2))
    batches.gate.set()
    eventually(lambda: len(batches.ran) == 6, "every batch")
    assert batches.ran.index([2]) <= 2


def test_there_must_be_a_thread() -> None:
    with pytest.raises(StatusError, match="num_batch_threads must be positive; was 0"):
        BatchScheduler[Rows](0, "none")
