"""Which warm-up records are run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.errors import StatusError, TooManyRows
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.runtime.warmup import MAX_RECORDS, warm_up


class CountingModel:
    """A model without inputs or outputs that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        signatures = get_model_metadata_pb2.SignatureDefMap()
        self.signatures = {"serving_default": signatures.signature_def["serving_default"]}

    def run(self, _feeds: object, _fetches: object, _timeout_ms: int | None) -> list[np.ndarray]:
        self.runs += 1
        return []


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "tf_serving_warmup_requests").touch()
    return tmp_path


def records(count: int) -> list[bytes]:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.SetInParent()
    return [log.SerializeToString()] * count


def test_6_the_1001st_record_is_run_before_it_is_too_many(version: Path) -> None:
    model, metrics = CountingModel(), ServerMetrics()
    with pytest.raises(StatusError, match="exceeds the maximum"):
        warm_up(model, version, lambda _: records(MAX_RECORDS + 100), PredictOptions(), metrics, iterations=1)
    assert model.runs == MAX_RECORDS + 1
    assert metrics.warmup_records_read.total() == MAX_RECORDS + 1


def test_a_record_without_a_request_is_read_and_not_run(version: Path) -> None:
    model = CountingModel()
    warm_up(model, version, lambda _: [b"", *records(1)], PredictOptions(), ServerMetrics(), iterations=3)
    assert model.runs == 3


def test_a_record_with_more_rows_than_a_batch_may_have_is_passed_over(
    version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Bounded(CountingModel):
        def run(self, *arguments: Any) -> list[np.ndarray]:
            super().run(*arguments)
            if self.runs == 2:
                raise TooManyRows("Task size 32 is larger than maximum input batch size 8")
            return []

    model = Bounded()
    with caplog.at_level("INFO"):
        warm_up(model, version, lambda _: records(3), PredictOptions(), ServerMetrics(), iterations=1)
    assert model.runs == 3
    assert "is passed over: Task size 32 is larger than maximum input batch size 8" in caplog.text
