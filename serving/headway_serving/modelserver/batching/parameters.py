"""How requests are joined into batches: TensorFlow Serving's BatchingParameters text file as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.process import text_config
from headway_serving.modelserver.process.flag_table import CPUS

PER_MODEL_FILE = "batching_params.pbtxt"

_Message = text_config.define(
    "BatchingParameters",
    {
        "max_batch_size": "Int64Value",
        "batch_timeout_micros": "Int64Value",
        "max_enqueued_batches": "Int64Value",
        "num_batch_threads": "Int64Value",
        "thread_pool_name": "StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": "BoolValue",
        "max_execution_batch_size": "Int64Value",
    },
)


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """TensorFlow Serving's fields and defaults.

    ``max_batch_size`` rows are the most that one request, and without splitting one batch, may have. A batch waits
    ``batch_timeout_micros`` for more rows. A queue holds ``max_enqueued_batches``. ``num_batch_threads`` run batches,
    for all models together. A batch is filled up with repeated rows to the next of ``allowed_batch_sizes``, if there
    are any. With ``enable_large_batch_splitting`` a request is cut into batches of ``max_execution_batch_size`` rows,
    0 meaning ``max_batch_size``.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = CPUS
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_size(self) -> int:
        """The most rows that a batch may have."""
        return (self.enable_large_batch_splitting and self.max_execution_batch_size) or self.max_batch_size

    def padded_size(self, size: int) -> int:
        """Return the smallest allowed batch size that holds ``size`` rows; ``size`` itself if there is none."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Return the BatchingParameters in ``path``; a field that is not set has its default.

    Raises StatusError NOT_FOUND or INVALID_ARGUMENT if the file cannot be read or is no such text.
    """
    message = text_config.read(path, _Message())
    wrapped = {field.name: value.value for field, value in message.ListFields() if _is_wrapper(value)}
    return replace(
        BatchingParameters(),
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        **wrapped,
    )


def of_version(directory: Path, common: BatchingParameters) -> BatchingParameters | None:
    """Return the parameters in the version's own file, or None without one. Threads are those of ``common``."""
    path = directory / PER_MODEL_FILE
    if not path.is_file():
        return None
    return replace(
        read_batching_parameters(path),
        num_batch_threads=common.num_batch_threads,
        thread_pool_name=common.thread_pool_name,
    )


def validate(parameters: BatchingParameters) -> None:
    """Raise StatusError INVALID_ARGUMENT if no version can be batched with ``parameters``; texts are the runtime's."""
    if parameters.execution_size <= 0:
        raise invalid_argument(f"max_execution_batch_size must be positive; was {parameters.execution_size}")
    if parameters.max_batch_size <= 0:
        raise invalid_argument(f"input_batch_size_limit must be positive; was {parameters.max_batch_size}")
    if parameters.batch_timeout_micros < 0:
        raise invalid_argument(f"batch_timeout_micros must be non-negative; was {parameters.batch_timeout_micros}")
    if parameters.max_enqueued_batches <= 0:
        raise invalid_argument(f"max_enqueued_batches must be positive; was {parameters.max_enqueued_batches}")
    if parameters.max_batch_size < parameters.execution_size:
        raise invalid_argument(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size."
        )
    _validate_allowed_sizes(parameters)


def _validate_allowed_sizes(parameters: BatchingParameters) -> None:
    sizes = parameters.allowed_batch_sizes
    if not sizes:
        return
    if list(sizes) != sorted(set(sizes)):
        raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")
    if not parameters.enable_large_batch_splitting and sizes[-1] != parameters.max_batch_size:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; "
            f"expected {parameters.max_batch_size}"
        )
    if sizes[-1] != parameters.execution_size:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was "
            f"{sizes[-1]}; expected {parameters.execution_size}"
        )


def _is_wrapper(value: Any) -> bool:
    return hasattr(value, "DESCRIPTOR") and "value" in value.DESCRIPTOR.fields_by_name
