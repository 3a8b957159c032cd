"""BatchingParameters are read as TensorFlow Serving writes them."""

from pathlib import Path

import pytest

from headway_serving.modelserver.batching.parameters import (
    BatchingParameters,
    of_version,
    read_batching_parameters,
    validate,
)
from headway_serving.modelserver.errors import StatusError


def test_what_is_not_set_has_tensorflows_default(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 32 }")
    parameters = read_batching_parameters(file)
    assert parameters == BatchingParameters(max_batch_size=32)
    assert (parameters.batch_timeout_micros, parameters.max_enqueued_batches) == (0, 10)
    assert BatchingParameters().max_batch_size == 1000


def test_every_field_is_read(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 5000 } max_enqueued_batches { value: 3 } "
        'num_batch_threads { value: 2 } thread_pool_name { value: "pool" } allowed_batch_sizes: 4 '
        "allowed_batch_sizes: 8 pad_variable_length_inputs: true enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 8 }"
    )
    assert read_batching_parameters(file) == BatchingParameters(
        max_batch_size=16,
        batch_timeout_micros=5000,
        max_enqueued_batches=3,
        num_batch_threads=2,
        thread_pool_name="pool",
        allowed_batch_sizes=(4, 8),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=8,
    )


def test_the_example_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[5] / "docs" / "model-server.md").read_text()
    (example,) = [block for block in page.split("```") if block.startswith("text\nmax_batch_size")]
    file = tmp_path / "batching.config"
    file.write_text(example.removeprefix("text\n"))
    parameters = read_batching_parameters(file)
    validate(parameters)
    assert parameters.max_batch_size == parameters.allowed_batch_sizes[-1] == 32


@pytest.mark.parametrize("text", ["max_batch_size: 32", "batch_size { value: 1 }", "\xff"])
def test_another_text_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "batching.config"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(StatusError) as caught:
        read_batching_parameters(file)
    assert str(caught.value) == f"INVALID_ARGUMENT: Invalid protobuf file: '{file}'"


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="No such file or directory"):
        read_batching_parameters(tmp_path / "absent")


@pytest.mark.parametrize(("size", "padded"), [(1, 4), (4, 4), (5, 8), (9, 9)])
def test_a_batch_grows_to_the_next_allowed_size(size: int, padded: int) -> None:
    assert BatchingParameters(allowed_batch_sizes=(4, 8)).padded_size(size) == padded


def test_without_allowed_sizes_a_batch_stays_as_it_is() -> None:
    assert BatchingParameters().padded_size(3) == 3


def test_a_version_brings_its_own_parameters_but_not_its_own_threads(tmp_path: Path) -> None:
    common = BatchingParameters(num_batch_threads=7, max_batch_size=5)
    assert of_version(tmp_path, common) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 } num_batch_threads { value: 1 }")
    assert of_version(tmp_path, common) == BatchingParameters(num_batch_threads=7, max_batch_size=2)
