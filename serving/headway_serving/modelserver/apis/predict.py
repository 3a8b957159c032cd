"""One Predict: check the request against a signature, run, and write the reply.

The checks and their texts are TensorFlow Serving's. Shapes and dtypes are left to the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2

from headway_serving.modelserver.apis.tensor_codec import TensorFormatError, decode, encode
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.messages import ModelSpec, PredictRequest, SignatureDef

DEFAULT_SIGNATURE = "serving_default"

T = TypeVar("T")

_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class Runnable(Protocol):
    """A loaded version that can be run."""

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """SignatureDef messages by key."""

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], timeout_ms: int | None
    ) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches``; raises StatusError."""


@dataclass(frozen=True)
class PredictOptions:
    """What the command line decides about Predict."""

    check_method_name: bool = False
    reply_as_content: bool = False


def run_predict(
    servable: Runnable, request: PredictRequest, options: PredictOptions, *, version: int | None, timeout_ms: int | None
) -> Message:
    """Return the PredictResponse message for the PredictRequest ``request``, answered by ``version``.

    ``version`` is None for warm-up, where no version serves yet. Raises StatusError.
    """
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(key)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    tensors = predict_arrays(
        servable, signature, request.inputs, decode, options, wanted=request.output_filter, timeout_ms=timeout_ms
    )
    response = predict_pb2.PredictResponse()
    write_model_spec(response.model_spec, request.model_spec, version)
    for alias, tensor in tensors.items():
        _write_output(tensor, alias, response, options)
    return response


def predict_arrays(
    servable: Runnable,
    signature: SignatureDef,
    inputs: Mapping[str, T],
    read: Callable[[T], NDArray[Any]],
    options: PredictOptions,
    *,
    wanted: Sequence[str] = (),
    timeout_ms: int | None,
) -> dict[str, NDArray[Any]]:
    """Return the outputs of ``signature`` by alias: those ``wanted``, in their order, or all of them, sorted.

    ``read`` turns an input as it was sent into an array; it may raise TensorFormatError. Raises StatusError.
    """
    if options.check_method_name:
        _check_method_name(signature)
    _check_input_count(signature, inputs)
    feeds = _feeds(signature, inputs, read)
    aliases = _output_aliases(signature.outputs, wanted)
    tensors = servable.run(feeds, [signature.outputs[alias].name for alias in aliases], timeout_ms)
    return dict(zip(aliases, tensors, strict=True))


def write_model_spec(message: ModelSpec, requested: ModelSpec, version: int | None) -> None:
    """Fill a reply's ModelSpec: the name as requested, the signature resolved, and the version that answered."""
    message.name = requested.name
    message.signature_name = requested.signature_name or DEFAULT_SIGNATURE
    if version is not None:
        message.version.value = version


def _check_method_name(signature: SignatureDef) -> None:
    if signature.method_name not in _METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )


def _check_input_count(signature: SignatureDef, inputs: Mapping[str, object]) -> None:
    sent, declared = set(inputs), set(signature.inputs)
    if len(sent) > len(declared) or (len(sent) < len(declared) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(declared)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(declared)}}}). Sent extra: {{{_joined(sent - declared)}}}. "
            f"Missing but required: {{{_joined(declared - sent)}}}."
        )


def _feeds(
    signature: SignatureDef, inputs: Mapping[str, T], read: Callable[[T], NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    feeds: dict[str, NDArray[Any]] = {}
    used: set[str] = set()
    for alias in sorted(signature.inputs):
        name = signature.inputs[alias].name
        if alias in inputs:
            used.add(alias)
        elif alias not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_joined(inputs)}}}, or default input alias "
                f"set: {_joined(signature.defaults)}"
            )
        try:
            feeds[name] = read(inputs[alias]) if alias in used else decode(signature.defaults[alias])
        except TensorFormatError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    if inputs and len(used) != len(inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(used)}, request input: {_joined(inputs)}"
        )
    return feeds


def _output_aliases(outputs: Collection[str], wanted: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for alias in wanted:
        if alias not in outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_joined(outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or sorted(outputs)


def _write_output(tensor: NDArray[Any], alias: str, response: Any, options: PredictOptions) -> None:
    try:
        encode(tensor, response.outputs[alias], as_content=options.reply_as_content)
    except TensorFormatError as error:
        raise StatusError(Code.UNIMPLEMENTED, f"Output {alias}: {error}") from error


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
