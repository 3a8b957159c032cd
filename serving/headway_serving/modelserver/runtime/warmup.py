"""Warm-up: requests stored beside a SavedModel are run before the version serves.

The file ``assets.extra/tf_serving_warmup_requests`` holds PredictionLog records. They pay for what a first run
costs (optimizing the graph, compiling kernels), and a record that fails keeps a broken version from serving.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from headway_serving.modelserver.apis.classify import run_classify
from headway_serving.modelserver.apis.multi_inference import run_multi_inference
from headway_serving.modelserver.apis.predict import PredictOptions, Runnable, run_predict
from headway_serving.modelserver.apis.regress import run_regress
from headway_serving.modelserver.errors import Code, StatusError, TooManyRows, invalid_argument
from headway_serving.modelserver.metrics import ServerMetrics

logger = logging.getLogger(__name__)

MAX_RECORDS = 1000

_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_RUNS: dict[str, Callable[..., Any]] = {
    "predict_log": run_predict,
    "classify_log": run_classify,
    "regress_log": run_regress,
    "multi_inference_log": run_multi_inference,
}
"""How the request of each kind of record is run."""


def warm_up(
    servable: Runnable,
    directory: Path,
    read_records: Callable[[Path], Iterable[bytes]],
    options: PredictOptions,
    metrics: ServerMetrics,
    *,
    iterations: int,
) -> None:
    """Run every warm-up record of the version in ``directory`` ``iterations`` times; no file is fine.

    ``read_records`` yields the records of a TFRecord file. Raises StatusError: that of the record that failed,
    UNIMPLEMENTED for a record that is no request to predict, classify, regress or infer, INVALID_ARGUMENT for one
    that is no PredictionLog or for more than 1000 of them, DATA_LOSS for a file that is no TFRecord file.
    """
    path = directory / _FILE
    if not path.is_file():
        return
    started = time.perf_counter()
    status = "OK"
    try:
        records = _run_records(servable, path, read_records(path), options, iterations, metrics)
        logger.info("Finished reading warmup data for model at %s. Number of warmup records read: %d.", path, records)
    except StatusError as error:
        status = str(error)
        if error.code is not Code.DATA_LOSS:
            raise
        hint = ". Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, error.message + hint) from error
    finally:
        microseconds = round((time.perf_counter() - started) * 1e6)
        metrics.warmup_latency.observe(microseconds, str(directory), status)


def _run_records(
    servable: Runnable,
    path: Path,
    records: Iterable[bytes],
    options: PredictOptions,
    iterations: int,
    metrics: ServerMetrics,
) -> int:
    """Run the records and return how many there are; each is counted when it has been run or has failed."""
    count = 0
    for record in records:
        status = "OK"
        try:
            run, request = _request(record, path)
            for _ in range(iterations if request is not None else 0):
                run(servable, request, options, version=None, timeout_ms=None)
        except TooManyRows as error:
            # Unlike TensorFlow Serving, which does not load the version then: no request will have so many rows either.
            logger.info("A warm-up request in %s is passed over: %s", path, error.message)
        except StatusError as error:
            status = str(error)
            raise
        finally:
            metrics.warmup_records_read.increment(str(path.parents[1]), status)
        count += 1
        if count > MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    return count


def _request(record: bytes, path: Path) -> tuple[Callable[..., Any], Any]:
    """Return how to run a record and its request message, which is None for a record without one."""
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        shown = record.decode("utf-8", "backslashreplace")
        raise invalid_argument(f"Failed to parse warmup record: {shown} from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind is None:
        return run_predict, None
    if kind not in _RUNS:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    return _RUNS[kind], getattr(log, kind).request
