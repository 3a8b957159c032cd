"""Regress: tf.Example messages to one value each. Checks and texts are TensorFlow Serving's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import regression_pb2

from headway_serving.modelserver.apis.examples import (
    Endpoints,
    check_method_name,
    described,
    find_signature,
    input_name,
    run_examples,
    serialized_examples,
    shape_text,
)
from headway_serving.modelserver.apis.predict import PredictOptions, Runnable, write_model_spec
from headway_serving.modelserver.apis.tensor_codec import dtype_number, enum_name
from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.messages import ExamplesRequest, SignatureDef

METHOD = "tensorflow/serving/regress"

_OUTPUTS = "outputs"


def run_regress(
    servable: Runnable,
    request: ExamplesRequest,
    options: PredictOptions,
    *,
    version: int | None,
    timeout_ms: int | None,
) -> Any:
    """Return the RegressionResponse message for a RegressionRequest, answered by ``version`` (None: warm-up).

    Raises StatusError.
    """
    endpoints = regress_endpoints(find_signature(servable, request.model_spec), options)
    examples = serialized_examples(request.input)
    tensors = run_examples(servable, examples, [endpoints], timeout_ms)
    response = regression_pb2.RegressionResponse()
    write_regressions(response.result, endpoints, tensors, len(examples))
    write_model_spec(response.model_spec, request.model_spec, version)
    return response


def regress_endpoints(signature: SignatureDef, options: PredictOptions) -> Endpoints:
    """Return the tensors to run for a signature that regresses; raises StatusError INVALID_ARGUMENT if it cannot."""
    if options.check_method_name:
        check_method_name(signature, "regression", METHOD)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    name = input_name(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {described(signature)}")
    return Endpoints(name, {_OUTPUTS: signature.outputs[_OUTPUTS].name})


def write_regressions(result: Any, endpoints: Endpoints, tensors: Mapping[str, NDArray[Any]], examples: int) -> None:
    """Fill a RegressionResult from the tensors of a run over so many examples.

    Raises StatusError INVALID_ARGUMENT unless the output is float32 of shape [examples] or [examples, 1].
    """
    tensor = tensors[endpoints.outputs[_OUTPUTS]]
    if tensor.ndim != 1 and not (tensor.ndim == 2 and tensor.shape[1] == 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_text(tensor)}"
        )
    if len(tensor) != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {len(tensor)}")
    dtype = enum_name(dtype_number(tensor))
    if dtype != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {dtype}")
    for value in tensor.ravel().tolist():
        result.regressions.add(value=value)
