"""Joins tasks into batches and runs each batch on one of a few threads.

Theory of operation
-------------------
The threads are shared by all queues; TensorFlow's SharedBatchScheduler is the model. A queue is a row of batches,
of which the last is *open*: it takes tasks as long as they fit. A batch is *ready* when a later one was opened
behind it, when it is full, or when its first task has waited for the timeout. A thread that is free takes the first
batch of the next queue that has a ready one, so that no queue starves another. While all threads are busy the
open batch grows: the busier the machine, the larger the batches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from headway_serving.modelserver.batching.parameters import BatchingParameters
from headway_serving.modelserver.errors import Code, StatusError, TooManyRows, invalid_argument

_FULL = "The batch scheduling queue to which this task was submitted is full"


class Task(Protocol):
    """A piece of work of ``size`` rows."""

    @property
    def size(self) -> int:
        """The number of rows."""


T = TypeVar("T", bound=Task)


@dataclass
class _Batch(Generic[T]):
    tasks: list[T] = field(default_factory=list)
    size: int = 0
    opened_at: float = 0.0


class BatchScheduler(Generic[T]):
    """Owns the threads; ``stop`` ends them. Raises StatusError INVALID_ARGUMENT for less than one thread."""

    def __init__(self, threads: int, name: str) -> None:
        if threads <= 0:
            raise invalid_argument(f"num_batch_threads must be positive; was {threads}")
        self.changed = threading.Condition()
        self._queues: deque[BatchQueue[T]] = deque()
        self._stopping = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True).start()

    def add_queue(
        self,
        parameters: BatchingParameters,
        process: Callable[[Sequence[T]], None],
        split: Callable[[T, Sequence[int]], list[T]],
    ) -> BatchQueue[T]:
        """Return a new queue whose batches ``process`` runs; ``split`` cuts a task into parts of the given sizes."""
        queue = BatchQueue(self.changed, parameters, process, split)
        with self.changed:
            self._queues.append(queue)
        return queue

    def remove_queue(self, queue: BatchQueue[T]) -> None:
        """Forget ``queue``, which must hold no task."""
        with self.changed:
            self._queues.remove(queue)

    def stop(self) -> None:
        """End every thread after the batch it runs."""
        with self.changed:
            self._stopping = True
            self.changed.notify_all()

    def _run(self) -> None:
        while (work := self._next_batch()) is not None:
            process, tasks = work
            process(tasks)
            # Held across the next wait, the last batch would keep its tensors and its model in memory.
            del work, process, tasks

    def _next_batch(self) -> tuple[Callable[[Sequence[T]], None], list[T]] | None:
        with self.changed:
            while not self._stopping:
                now = time.monotonic()
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    if (tasks := queue.take(now)) is not None:
                        return queue.process, tasks
                times = [at for queue in self._queues if (at := queue.ready_at()) is not None]
                self.changed.wait(max(min(times) - now, 0.0) if times else None)
            return None


class BatchQueue(Generic[T]):
    """The batches of tasks that can be run together; made by ``BatchScheduler.add_queue``."""

    def __init__(
        self,
        changed: threading.Condition,
        parameters: BatchingParameters,
        process: Callable[[Sequence[T]], None],
        split: Callable[[T, Sequence[int]], list[T]],
    ) -> None:
        self.process = process
        self._changed = changed
        self._parameters = parameters
        self._split = split
        self._timeout = parameters.batch_timeout_micros / 1_000_000
        self._batches: deque[_Batch[T]] = deque([_Batch()])

    def schedule(self, task: T) -> list[T]:
        """Enqueue ``task`` and return the tasks that were enqueued: itself, or the parts it was split into.

        Raises StatusError: INVALID_ARGUMENT if it is larger than a request may be, UNAVAILABLE if the queue is full.
        """
        limit = self._parameters.max_batch_size
        if task.size > limit:
            raise TooManyRows(f"Task size {task.size} is larger than maximum input batch size {limit}")
        with self._changed:
            parts = self._parts(task)
            for part in parts:
                self._enqueue(part)
        return parts

    def take(self, now: float) -> list[T] | None:
        """Remove the first batch if it is ready and return its tasks. The caller holds the lock."""
        at = self.ready_at()
        if at is None or at > now:
            return None
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(_Batch())
        return batch.tasks

    def ready_at(self) -> float | None:
        """Return when (``time.monotonic``) the first batch is ready, None if it is empty. The caller holds the lock."""
        first = self._batches[0]
        if not first.tasks:
            return None
        if len(self._batches) > 1 or first.size >= self._parameters.execution_size:
            return first.opened_at
        return first.opened_at + self._timeout

    def _parts(self, task: T) -> list[T]:
        """Return what to enqueue for ``task``, after checking that the queue has room for it."""
        free = self._parameters.execution_size - self._batches[-1].size
        most = self._parameters.max_enqueued_batches
        if not self._parameters.enable_large_batch_splitting:
            if task.size > free and len(self._batches) >= most:
                raise StatusError(
                    Code.UNAVAILABLE,
                    f"{_FULL}; currently {len(self._batches)} batches enqueued and max_enqueued_batches is {most}",
                )
            return [task]
        capacity = max(most - len(self._batches), 0) * self._parameters.execution_size + free
        if task.size > capacity:
            raise StatusError(
                Code.UNAVAILABLE,
                f"{_FULL}; task size is {task.size} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={len(self._batches)}, max_enqueued_batches={most}, "
                f"open_batch_size={self._batches[-1].size}, "
                f"max_execution_batch_size={self._parameters.execution_size})",
            )
        if task.size <= free:
            return [task]
        return self._split(task, _part_sizes(task.size, free, self._parameters.execution_size))

    def _enqueue(self, task: T) -> None:
        batch = self._batches[-1]
        if batch.tasks and batch.size + task.size > self._parameters.execution_size:
            batch = _Batch()
            self._batches.append(batch)
            self._changed.notify()
        if not batch.tasks:
            batch.opened_at = time.monotonic()
            self._changed.notify()
        batch.tasks.append(task)
        batch.size += task.size
        if batch.size >= self._parameters.execution_size:
            self._changed.notify()


def _part_sizes(size: int, first: int, most: int) -> list[int]:
    """Return sizes that add up to ``size``: ``first`` if it is not 0, as many times ``most`` as fit, and the rest."""
    sizes = [first] if first else []
    rest = size - first
    return sizes + [most] * (rest // most) + ([rest % most] if rest % most else [])
