"""What Classify, Regress and MultiInference share: tf.Example messages in, and the options of a signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from headway_serving.modelserver.apis.predict import DEFAULT_SIGNATURE, Runnable
from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.messages import ModelSpec, SignatureDef

INPUTS = "inputs"
"""The one input of every signature that classifies or regresses."""


@dataclass(frozen=True)
class Endpoints:
    """The graph tensors of a signature: the name of its input, and the names of its outputs by alias."""

    input: str
    outputs: dict[str, str]


def serialized_examples(message: Any) -> NDArray[Any]:
    """Return the examples of an Input message, serialized: an object array of bytes, shape [n], n >= 1.

    A context is put before each example, so that a parser sees one message with the features of both. Raises
    StatusError INVALID_ARGUMENT without examples.
    """
    kind = message.WhichOneof("kind")
    examples = getattr(message, kind).examples if kind else ()
    if not examples:
        raise invalid_argument("Input is empty.")
    context = message.example_list_with_context.context.SerializeToString() if "context" in kind else b""
    array = np.empty(len(examples), np.object_)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def find_signature(servable: Runnable, model_spec: ModelSpec) -> SignatureDef:
    """Return the SignatureDef that a request to classify or regress means; raises StatusError INVALID_ARGUMENT."""
    key = model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(key)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {key}")
    return signature


def input_name(signature: SignatureDef, task: str) -> str:
    """Return the name of the graph's input for ``task`` ("classification", "regression")."""
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No {task} inputs found in SignatureDef: {described(signature)}")
    return str(signature.inputs[INPUTS].name)


def check_method_name(signature: SignatureDef, task: str, method: str) -> None:
    """Raise StatusError INVALID_ARGUMENT unless the signature says that it does ``method``."""
    if signature.method_name != method:
        raise invalid_argument(f"Expected {task} signature method_name to be {method}. Was: {signature.method_name}")


def described(signature: SignatureDef) -> str:
    """Return a SignatureDef as the text that TensorFlow Serving puts into its messages."""
    return text_format.MessageToString(cast("Message", signature))


def shape_text(array: NDArray[Any]) -> str:
    """Return a shape as TensorFlow writes it, such as [2,3]."""
    return f"[{','.join(map(str, array.shape))}]"


def run_examples(
    servable: Runnable, examples: NDArray[Any], endpoints: Sequence[Endpoints], timeout_ms: int | None
) -> dict[str, NDArray[Any]]:
    """Return all outputs of ``endpoints`` by their tensors' names, from one run that gives ``examples`` to all."""
    names = sorted({name for endpoint in endpoints for name in endpoint.outputs.values()})
    feeds = {endpoint.input: examples for endpoint in endpoints}
    return dict(zip(names, servable.run(feeds, names, timeout_ms), strict=True))
