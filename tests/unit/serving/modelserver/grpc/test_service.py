"""What a call is counted as is what its client gets."""

from typing import Any, NoReturn, cast

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.grpc.service import PredictionService
from headway_serving.modelserver.inference import Inference


class Aborted(Exception):
    pass


class Call:
    """A call without a deadline; ``ended``: how it was ended."""

    ended: tuple[grpc.StatusCode, str] | None = None

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self.ended = code, details
        raise Aborted

    def time_remaining(self) -> float | None:
        return None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return []

    def is_active(self) -> bool:
        return True

    def add_callback(self, _: Any) -> bool:
        return True


class Failing:
    """An inference that fails; ``counted``: the codes of what was counted."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.counted: list[Code] = []

    def predict(self, *_: Any) -> Any:
        if self._error is not None:
            raise self._error
        return predict_pb2.PredictResponse()

    def count_request(self, _model: str, _api: str, _way: str, _started: float, error: StatusError | None) -> None:
        self.counted.append(Code.OK if error is None else error.code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, Code.OK),
        (StatusError(Code.NOT_FOUND, "no such model"), Code.NOT_FOUND),
        (ZeroDivisionError("a fault of ours"), Code.INTERNAL),
        (MemoryError(), Code.RESOURCE_EXHAUSTED),
    ],
)
def test_a_call_is_counted_as_what_its_client_gets(error: Exception | None, code: Code) -> None:
    inference, call = Failing(error), Call()
    service = PredictionService(cast("Inference", inference))
    if error is None:
        assert service.Predict(predict_pb2.PredictRequest(), call) == predict_pb2.PredictResponse()
    else:
        with pytest.raises(Aborted):
            service.Predict(predict_pb2.PredictRequest(), call)
        assert call.ended is not None
        assert call.ended[0].name == code.name
        assert "a fault of ours" not in call.ended[1]
    assert inference.counted == [code]
