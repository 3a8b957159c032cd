"""Every caller gets its own rows back, whoever else was in the batch."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_serving.modelserver.batching.batched_model import BatchedModel, BatchTask
from headway_serving.modelserver.batching.parameters import BatchingParameters
from headway_serving.modelserver.batching.scheduler import BatchScheduler
from headway_serving.modelserver.errors import StatusError, invalid_argument

Array = NDArray[Any]
PATIENT = BatchingParameters(max_batch_size=8, batch_timeout_micros=200_000)


class Doubler:
    """y = 2 x and the string of x; refuses batches with a negative number. `gate` holds runs up."""

    signatures: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.timeouts: list[int | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], timeout_ms: int | None) -> list[Array]:
        assert self.gate.wait(timeout=30)
        x = feeds["x"]
        self.batches.append(x.shape)
        self.timeouts.append(timeout_ms)
        if x.dtype != np.float32:
            raise invalid_argument("Expects arg[0] to be float")
        if (x < 0).any():
            raise invalid_argument("negative")
        results = {"y": x * 2, "name": np.array([str(row[0]).encode() for row in x], np.object_)}
        return [results[name] for name in fetches]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def model() -> Doubler:
    return Doubler()


@pytest.fixture
def scheduler() -> Iterator[BatchScheduler[BatchTask]]:
    scheduler = BatchScheduler[BatchTask](1, "test")
    yield scheduler
    scheduler.stop()


def column(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32).reshape(-1, 1)}


def run_together(batched: BatchedModel, *feeds: Mapping[str, Array], timeout_ms: int | None = None) -> list[Any]:
    """Return the results, or errors, of runs that begin at the same time."""

    def run(feed: Mapping[str, Array]) -> object:
        try:
            return batched.run(feed, ["y"], timeout_ms)[0].tolist()
        except StatusError as error:
            return str(error)

    with ThreadPoolExecutor(len(feeds)) as threads:
        return list(threads.map(run, feeds))


def test_callers_share_a_run_and_get_their_own_rows(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    results = run_together(batched, column(1), column(2, 3), column(4))
    assert results == [[[2]], [[4], [6]], [[8]]]
    assert model.batches == [(4, 1)]


def test_outputs_come_in_the_order_asked_for(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    y, name, again = batched.run(column(1), ["y", "name", "y"], None)
    assert (y.tolist(), name.tolist(), again.tolist()) == ([[2]], [b"1.0"], [[2]])


def test_a_failed_run_fails_for_the_whole_batch_but_not_for_the_next(
    model: Doubler, scheduler: BatchScheduler[BatchTask]
) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    assert run_together(batched, column(1), column(-1)) == ["INVALID_ARGUMENT: negative"] * 2
    assert run_together(batched, column(1)) == [[[2]]]


def test_another_dtype_is_answered_to_its_sender_alone(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    right, wrong = run_together(batched, column(1), {"x": np.array([[1]], np.int64)})
    assert (right, wrong) == ([[2]], "INVALID_ARGUMENT: Expects arg[0] to be float")


def test_no_inputs_are_refused(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    with pytest.raises(StatusError, match="must have at least one input tensor"):
        BatchedModel(model, PATIENT, scheduler).run({}, ["y"], None)


def test_requests_of_no_rows_are_padded_too(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    parameters = BatchingParameters(max_batch_size=2, allowed_batch_sizes=(2,))
    (y,) = BatchedModel(model, parameters, scheduler).run({"x": np.empty([0, 3], np.float32)}, ["y"], None)
    assert y.shape == (0, 3)
    assert model.batches == [(2, 3)]


def test_lengths_are_padded_with_each_tensors_first_element(
    model: Doubler, scheduler: BatchScheduler[BatchTask]
) -> None:
    parameters = BatchingParameters(max_batch_size=8, batch_timeout_micros=200_000, pad_variable_length_inputs=True)
    batched = BatchedModel(model, parameters, scheduler)
    short, long = run_together(batched, {"x": np.array([[5]], np.float32)}, {"x": np.array([[1, 2, 3]], np.float32)})
    assert (short, long) == ([[10, 10, 10]], [[2, 4, 6]])


def test_a_batch_runs_as_long_as_its_most_patient_request(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    run_together(batched, column(1), column(2), timeout_ms=60_000)
    batched.run(column(1), ["y"], None)
    limited, unlimited = model.timeouts
    assert limited is not None
    assert 0 < limited <= 60_000
    assert unlimited is None


def test_requests_that_all_timed_out_in_the_queue_do_not_run(
    model: Doubler, scheduler: BatchScheduler[BatchTask]
) -> None:
    batched = BatchedModel(model, BatchingParameters(max_batch_size=1), scheduler)
    model.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(batched.run, column(1), ["y"], None)
        late = threads.submit(run_together, batched, column(2), timeout_ms=0)
        model.gate.set()
        assert late.result(timeout=30) == ["RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue"]
        assert first.result(timeout=30)[0].tolist() == [[2]]
    assert model.batches == [(1, 1)]


def test_parts_of_a_large_request_come_back_as_one(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    parameters = BatchingParameters(
        max_batch_size=100, max_execution_batch_size=4, enable_large_batch_splitting=True, allowed_batch_sizes=(2, 4)
    )
    (y,) = BatchedModel(model, parameters, scheduler).run(column(*range(10)), ["y"], None)
    assert y.ravel().tolist() == [2 * value for value in range(10)]
    assert model.batches == [(4, 1), (4, 1), (2, 1)]


def test_closing_releases_the_model_and_its_queues(model: Doubler, scheduler: BatchScheduler[BatchTask]) -> None:
    batched = BatchedModel(model, PATIENT, scheduler)
    batched.run(column(1), ["y"], None)
    batched.close()
    assert model.closed
    other = BatchedModel(Doubler(), PATIENT, scheduler)
    assert run_together(other, column(1)) == [[[2]]]


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        (BatchingParameters(max_batch_size=0), "max_execution_batch_size must be positive; was 0"),
        (BatchingParameters(batch_timeout_micros=-1), "batch_timeout_micros must be non-negative; was -1"),
        (BatchingParameters(max_enqueued_batches=0), "max_enqueued_batches must be positive; was 0"),
        (
            BatchingParameters(max_batch_size=8, allowed_batch_sizes=(2, 4)),
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            BatchingParameters(max_batch_size=4, allowed_batch_sizes=(4, 2, 4)),
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            BatchingParameters(
                max_batch_size=8,
                max_execution_batch_size=4,
                enable_large_batch_splitting=True,
                allowed_batch_sizes=(2, 8),
            ),
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was 8; expected 4",
        ),
        (
            BatchingParameters(max_batch_size=2, max_execution_batch_size=4, enable_large_batch_splitting=True),
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to ",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    model: Doubler, scheduler: BatchScheduler[BatchTask], parameters: Any, refusal: Any
) -> None:
    with pytest.raises(StatusError) as caught:
        BatchedModel(model, parameters, scheduler)
    assert str(caught.value).startswith(f"INVALID_ARGUMENT: {refusal}")
