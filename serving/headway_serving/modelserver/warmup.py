"""Warm-up: requests stored beside a SavedModel are run before the version serves.

The file `assets.extra/tf_serving_warmup_requests` holds PredictionLog records. They pay for what a first run
costs (optimizing the graph, compiling kernels), and a record that fails keeps a broken version from serving.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.predict import PredictOptions, Runnable, run_predict

logger = logging.getLogger(__name__)

MAX_RECORDS = 1000

_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def warm_up(
    servable: Runnable,
    directory: Path,
    read_records: Callable[[Path], Iterable[bytes]],
    options: PredictOptions,
    *,
    iterations: int,
) -> None:
    """Run every warm-up record of the version in `directory` `iterations` times; no file is fine.

    `read_records` yields the records of a TFRecord file. Raises StatusError: that of the record that failed,
    UNIMPLEMENTED for a record of another kind than Predict, INVALID_ARGUMENT for one that is no PredictionLog
    or for more than 1000 of them, DATA_LOSS for a file that is no TFRecord file.
    """
    path = directory / _FILE
    if not path.is_file():
        return
    records = 0
    try:
        for record in read_records(path):
            request = _predict_request(record, path)
            for _ in range(iterations if request is not None else 0):
                run_predict(servable, request, options, version=None, timeout_ms=None)
            records += 1
            if records > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except StatusError as error:
        if error.code is not Code.DATA_LOSS:
            raise
        hint = ". Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, error.message + hint) from error
    logger.info("Finished reading warmup data for model at %s. Number of warmup records read: %d.", path, records)


def _predict_request(record: bytes, path: Path) -> Any:
    """Return the PredictRequest of a record, or None for a record without a request."""
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        shown = record.decode("utf-8", "backslashreplace")
        raise invalid_argument(f"Failed to parse warmup record: {shown} from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind is None:
        return None
    if kind != "predict_log":
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    return log.predict_log.request
