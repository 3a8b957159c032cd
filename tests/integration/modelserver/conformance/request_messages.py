"""Requests that carry tf.Example messages, and TensorProto messages from text."""

from typing import Any

from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, predict_pb2, regression_pb2

from tests.integration.modelserver.model_server_process import write_spec
from tests.integration.modelserver.tiny_models import example_list


def classification_request(signature: str, *values: float, name: str = "examples", **spec: Any) -> Any:
    """Return a ClassificationRequest with an example for each value of `x`."""
    request = classification_pb2.ClassificationRequest(input=example_list(*values))
    write_spec(request.model_spec, name, signature=signature, **spec)
    return request


def regression_request(signature: str, *values: float, name: str = "examples", **spec: Any) -> Any:
    request = regression_pb2.RegressionRequest(input=example_list(*values))
    write_spec(request.model_spec, name, signature=signature, **spec)
    return request


def multi_inference_request(*tasks: tuple[str, str, str], values: tuple[float, ...] = (0.25,), **spec: Any) -> Any:
    """Return a MultiInferenceRequest; a task is model, signature, and the last part of its method's name."""
    request = inference_pb2.MultiInferenceRequest(input=example_list(*values))
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        write_spec(task.model_spec, name, signature=signature, **spec)
    return request


def tensor_request(name: str, signature: str, alias: str, text: str) -> Any:
    """Return a PredictRequest whose input is the TensorProto written as `text`."""
    request = predict_pb2.PredictRequest()
    write_spec(request.model_spec, name, signature=signature)
    request.inputs[alias].CopyFrom(text_format.Parse(text, tensor_pb2.TensorProto()))
    return request


def with_context(values: tuple[float, ...], context: float) -> Any:
    """Return an Input of examples with the feature `other` and a context with `x`."""
    message = input_pb2.Input()
    target = message.example_list_with_context
    target.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        target.examples.add().features.feature["other"].float_list.value.append(value)
    return message
