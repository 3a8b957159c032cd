"""Classify: tf.Example messages to classes with labels, scores or both. Checks and texts are TensorFlow Serving's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2

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

METHOD = "tensorflow/serving/classify"

_DTYPES = {"classes": "DT_STRING", "scores": "DT_FLOAT"}
"""The outputs that are read, and what they must be."""


def run_classify(
    servable: Runnable,
    request: ExamplesRequest,
    options: PredictOptions,
    *,
    version: int | None,
    timeout_ms: int | None,
) -> Any:
    """Return the ClassificationResponse message for a ClassificationRequest, answered by ``version`` (None: warm-up).

    Raises StatusError.
    """
    endpoints = classify_endpoints(find_signature(servable, request.model_spec), options)
    examples = serialized_examples(request.input)
    tensors = run_examples(servable, examples, [endpoints], timeout_ms)
    response = classification_pb2.ClassificationResponse()
    write_classifications(response.result, endpoints, tensors, len(examples))
    write_model_spec(response.model_spec, request.model_spec, version)
    return response


def classify_endpoints(signature: SignatureDef, options: PredictOptions) -> Endpoints:
    """Return the tensors to run for a signature that classifies; raises StatusError INVALID_ARGUMENT if it cannot."""
    if options.check_method_name:
        check_method_name(signature, "classification", METHOD)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    name = input_name(signature, "classification")
    outputs = {alias: signature.outputs[alias].name for alias in _DTYPES if alias in signature.outputs}
    if not outputs:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {described(signature)}"
        )
    return Endpoints(name, outputs)


def write_classifications(
    result: Any, endpoints: Endpoints, tensors: Mapping[str, NDArray[Any]], examples: int
) -> None:
    """Fill a ClassificationResult from the tensors of a run over so many examples.

    Raises StatusError INVALID_ARGUMENT unless classes are strings and scores floats, both [examples, classes].
    """
    found = {alias: tensors[name] for alias, name in endpoints.outputs.items()}
    for alias, tensor in found.items():
        _check_output(alias, tensor, examples)
    classes, scores = found.get("classes"), found.get("scores")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(iter(found.values())).shape[1]
    for row in range(examples):
        written = result.classifications.add().classes
        for column in range(width):
            written.add(
                label=None if classes is None else classes[row, column].decode("utf-8", "replace"),
                score=None if scores is None else scores[row, column],
            )


def _check_output(alias: str, tensor: NDArray[Any], examples: int) -> None:
    if tensor.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(tensor)}")
    dtype = enum_name(dtype_number(tensor))
    if dtype != _DTYPES[alias]:
        raise invalid_argument(f"Expected {alias} Tensor of {_DTYPES[alias]}. Got: {dtype}")
    if len(tensor) != examples:
        raise invalid_argument(f"Expected {alias} output batch size of {examples}. Got: {len(tensor)}")
