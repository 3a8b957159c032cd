"""A loaded version whose requests run together: one run of the model for a batch of requests.

Requests that feed and fetch the same tensors share a queue. Their inputs are joined along dimension 0, the outputs
are cut apart again. A batch whose run fails fails for every request in it, as in TensorFlow Serving; but requests
of different dtypes never meet in one, so a wrong dtype is answered to its sender alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headway_serving.core.errors import without_frames
from headway_serving.modelserver.apis.predict import Runnable
from headway_serving.modelserver.batching import parameters as batching_parameters
from headway_serving.modelserver.batching.parameters import BatchingParameters
from headway_serving.modelserver.batching.scheduler import BatchQueue, BatchScheduler
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.messages import SignatureDef
from headway_serving.modelserver.metrics import ServerMetrics

Array = NDArray[Any]
Tensors = Mapping[str, Array]


class LoadedModel(Runnable, Protocol):
    """A version that can be run until it is closed."""

    def close(self) -> None:
        """Release the version's memory; it is not used afterwards."""


@dataclass(frozen=True, eq=False)
class BatchTask:
    """One request, or a part of one: its tensors, its rows, and when (``time.monotonic``) its sender gives up."""

    feeds: Tensors
    size: int
    deadline: float | None
    outputs: Future[Tensors] = field(default_factory=Future)
    begun: float = field(default_factory=time.monotonic)


_Key = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
"""Names and dtypes of the tensors fed, names of the tensors fetched."""


class BatchedModel:
    """Runs ``model`` for batches of requests on the threads of ``scheduler``.

    Raises StatusError INVALID_ARGUMENT if ``parameters`` contradict each other.
    """

    def __init__(
        self,
        model: LoadedModel,
        parameters: BatchingParameters,
        scheduler: BatchScheduler[BatchTask],
        metrics: ServerMetrics | None = None,
    ) -> None:
        batching_parameters.validate(parameters)
        self._model = model
        self._parameters = parameters
        self._scheduler = scheduler
        self._metrics = ServerMetrics() if metrics is None else metrics
        self._queues: dict[_Key, BatchQueue[BatchTask]] = {}
        self._adding = threading.Lock()

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The model's SignatureDef messages by key."""
        return self._model.signatures

    def run(self, feeds: Tensors, fetches: Sequence[str], timeout_ms: int | None) -> list[Array]:
        """Return the tensors named ``fetches``, computed together with those of other callers.

        ``timeout_ms`` limits the wait in the queue and the run together; a batch runs as long as its most patient
        request. Raises StatusError: the refusals of batching, or whatever the run of the batch failed with.
        """
        size = _batch_size(feeds)
        self._metrics.batch_input_size.observe(size)
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        task = BatchTask(feeds, size, deadline)
        parts = [part.outputs.result() for part in self._queue(feeds, fetches).schedule(task)]
        if len(parts) == 1:
            return [parts[0][name] for name in fetches]
        return [np.concatenate([part[name] for part in parts]) for name in fetches]

    def close(self) -> None:
        """Release the model; no request runs any more."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)
        self._queues.clear()
        self._model.close()

    def _queue(self, feeds: Tensors, fetches: Sequence[str]) -> BatchQueue[BatchTask]:
        names = tuple(sorted(set(fetches)))
        key = tuple(sorted((name, value.dtype.name) for name, value in feeds.items())), names
        queue = self._queues.get(key)
        if queue is None:
            with self._adding:
                queue = self._queues.get(key)
                if queue is None:
                    queue = self._scheduler.add_queue(
                        self._parameters, lambda tasks: self._process(tasks, names), _split_task
                    )
                    self._queues[key] = queue
        return queue

    def _process(self, tasks: Sequence[BatchTask], fetches: Sequence[str]) -> None:
        try:
            results = self._run_batch(tasks, fetches)
        except BaseException as error:
            if isinstance(error, StatusError):
                # Its frames hold the whole batch, for each of the requests in it.
                without_frames(error)
            for task in tasks:
                task.outputs.set_exception(error)
            return
        for task, result in zip(tasks, results, strict=True):
            task.outputs.set_result(result)

    def _run_batch(self, tasks: Sequence[BatchTask], fetches: Sequence[str]) -> list[Tensors]:
        now = time.monotonic()
        for task in tasks:
            # The label is TensorFlow Serving's, where it is always empty.
            self._metrics.batch_queuing_latency.observe(round((now - task.begun) * 1e6), "")
        timeout_ms = _timeout_ms(tasks)
        rows = sum(task.size for task in tasks)
        padding = self._parameters.padded_size(rows) - rows
        feeds = {name: self._merged(name, [task.feeds[name] for task in tasks], padding) for name in tasks[0].feeds}
        self._metrics.batch_padding.observe(padding, str(rows + padding))
        self._metrics.batch_processed_size.observe(rows + padding)
        self._metrics.batch_runs.increment()
        outputs = self._model.run(feeds, fetches, timeout_ms)
        return _split_outputs(dict(zip(fetches, outputs, strict=True)), [task.size for task in tasks], padding)

    def _merged(self, name: str, values: list[Array], padding: int) -> Array:
        if any(value.shape[1:] != values[0].shape[1:] for value in values):
            if not self._parameters.pad_variable_length_inputs:
                raise StatusError(Code.FAILED_PRECONDITION, _different_shapes(name))
            values = _padded_to_one_shape(name, values)
        if padding:
            values = [*values, np.repeat(_first_row(values[-1]), padding, axis=0)]
        return values[0] if len(values) == 1 else np.concatenate(values)


@dataclass(frozen=True)
class Batching:
    """Wraps every loaded version: with ``parameters``, or ``per_model`` with those in the version's directory."""

    parameters: BatchingParameters
    scheduler: BatchScheduler[BatchTask]
    per_model: bool = False
    metrics: ServerMetrics = field(default_factory=ServerMetrics)

    def wrap(self, model: LoadedModel, directory: Path) -> LoadedModel:
        """Return ``model`` batched; as it is if the version in ``directory`` lacks the parameters it should bring.

        Raises StatusError INVALID_ARGUMENT for parameters that cannot be used.
        """
        parameters = self.parameters
        if self.per_model:
            own = batching_parameters.of_version(directory, self.parameters)
            if own is None:
                return model
            parameters = own
        return BatchedModel(model, parameters, self.scheduler, self.metrics)


def _batch_size(feeds: Tensors) -> int:
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(value.ndim == 0 for value in feeds.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    size, *others = (int(value.shape[0]) for value in feeds.values())
    if any(other != size for other in others):
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return size


def _timeout_ms(tasks: Sequence[BatchTask]) -> int | None:
    """Return the milliseconds until the last deadline, None if a task has none."""
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    latest = max(deadlines, default=0.0)
    if len(deadlines) < len(tasks):
        return None
    left = latest - time.monotonic()
    if left <= 0:
        raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    return max(int(left * 1000), 1)


def _split_task(task: BatchTask, sizes: Sequence[int]) -> list[BatchTask]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        BatchTask({name: value[begin:end] for name, value in task.feeds.items()}, end - begin, task.deadline)
        for begin, end in pairwise(ends)
    ]


def _split_outputs(outputs: Tensors, sizes: Sequence[int], padding: int) -> list[Tensors]:
    for value in outputs.values():
        if value.ndim == 0:
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if value.shape[0] != sum(sizes) + padding:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors",
            )
    ends = np.cumsum([0, *sizes]).tolist()
    return [{name: value[begin:end] for name, value in outputs.items()} for begin, end in pairwise(ends)]


def _padded_to_one_shape(name: str, values: Sequence[Array]) -> list[Array]:
    if len({value.ndim for value in values}) > 1:
        raise StatusError(
            Code.FAILED_PRECONDITION, f"Tensors with name '{name}' from different tasks have different ranks."
        )
    largest = np.max([value.shape[1:] for value in values], axis=0).tolist()
    return [_padded(value, (value.shape[0], *largest)) for value in values]


def _padded(value: Array, shape: tuple[int, ...]) -> Array:
    """Return ``value`` in the corner of an array of ``shape`` that its own first element fills."""
    if value.shape == shape:
        return value
    full = np.full(shape, value.flat[0] if value.size else _zero(value), value.dtype)
    full[tuple(slice(0, length) for length in value.shape)] = value
    return full


def _first_row(value: Array) -> Array:
    return value[:1] if value.shape[0] else np.full((1, *value.shape[1:]), _zero(value), value.dtype)


def _zero(value: Array) -> Any:
    return b"" if value.dtype == np.object_ else 0


def _different_shapes(name: str) -> str:
    return (
        f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. "
        "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
        "starting with the first dim."
    )
