"""TFLite models, in versions that hold a ``model.tflite``, run by LiteRT: ``pip install ai-edge-litert``.

An interpreter runs one request at a time, so a version has several and a request waits for a free one. A run that
has begun cannot be interrupted: its deadline is not looked at.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.runtime import tflite_signatures

FILE_NAME = "model.tflite"


@dataclass(frozen=True)
class TfliteRuntime:
    """Loads TFLite models, each with ``interpreters`` interpreters (at least 1).

    Raises StatusError UNIMPLEMENTED if LiteRT is not installed.
    """

    interpreters: int

    def __post_init__(self) -> None:
        _litert()

    def load(self, directory: Path) -> TfliteModel | None:
        """Return the TFLite model of the version in ``directory``, None if there is none.

        Raises StatusError INVALID_ARGUMENT for a damaged file, or for signatures in it that cannot be read.
        """
        file = directory / FILE_NAME
        if not file.is_file():
            return None
        # Read, not mapped: a file that is overwritten must not change, or end, what is served.
        content = file.read_bytes()
        try:
            interpreters = [_litert().Interpreter(model_content=content) for _ in range(max(self.interpreters, 1))]
        except (ValueError, RuntimeError) as error:
            raise invalid_argument(f"Cannot build FlatBufferModel from {file}: {error}") from error
        stored = tflite_signatures.of_metadata(content, interpreters[0])
        known = tflite_signatures.of_runners(interpreters[0])
        signatures = stored or known or tflite_signatures.made(interpreters[0])
        return TfliteModel(interpreters, signatures, by_key=signatures is known)


class TfliteModel:
    """One loaded TFLite model; ``signatures`` maps a signature's key to its SignatureDef message.

    ``by_key``: the interpreters know the signatures by these keys; else their tensors are named.
    """

    def __init__(self, interpreters: Sequence[Any], signatures: Mapping[str, Any], *, by_key: bool) -> None:
        self.signatures = signatures
        self._by_key = by_key
        self._free: SimpleQueue[Any] = SimpleQueue()
        for interpreter in interpreters:
            self._free.put(interpreter)

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], timeout_ms: int | None
    ) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches`` after feeding ``feeds`` (name of a tensor -> its value).

        ``timeout_ms`` limits nothing but must not have passed. Raises StatusError: DEADLINE_EXCEEDED then,
        INVALID_ARGUMENT with LiteRT's text for a run that fails.
        """
        if timeout_ms is not None and timeout_ms <= 0:
            raise StatusError(Code.DEADLINE_EXCEEDED, "The deadline had passed before the run began")
        key, signature = self._signature(feeds, fetches)
        inputs = {alias: feeds[tensor.name] for alias, tensor in signature.inputs.items()}
        interpreter = self._free.get()
        try:
            if not self._by_key:
                named = _run_by_name(interpreter, feeds, fetches)
                return [np.asarray(named[name]) for name in fetches]
            outputs = interpreter.get_signature_runner(key)(**inputs)
        except (ValueError, RuntimeError, TypeError) as error:
            raise invalid_argument(str(error)) from error
        finally:
            self._free.put(interpreter)
        by_name = {tensor.name: np.asarray(outputs[alias]) for alias, tensor in signature.outputs.items()}
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """Release the interpreters; no request runs any more."""
        while not self._free.empty():
            self._free.get()

    def _signature(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> tuple[str, Any]:
        """Return the signature that has just these inputs, and these outputs among its own."""
        for key, signature in self.signatures.items():
            inputs = {tensor.name for tensor in signature.inputs.values()}
            outputs = {tensor.name for tensor in signature.outputs.values()}
            if inputs == feeds.keys() and outputs.issuperset(fetches):
                return key, signature
        raise invalid_argument(f"No signature of the TFLite model leads from {sorted(feeds)} to {sorted(fetches)}")


def _litert() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError as error:
        raise StatusError(
            Code.UNIMPLEMENTED, "--prefer_tflite_model needs LiteRT. Install it with: pip install ai-edge-litert"
        ) from error


def _run_by_name(
    interpreter: Any, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return the tensors named ``fetches`` of a file whose signatures LiteRT does not know."""
    inputs = {details["name"]: details for details in interpreter.get_input_details()}
    for name, value in feeds.items():
        if tuple(inputs[name]["shape"]) != value.shape:
            interpreter.resize_tensor_input(inputs[name]["index"], value.shape)
    interpreter.allocate_tensors()
    for name, value in feeds.items():
        interpreter.set_tensor(inputs[name]["index"], value)
    interpreter.invoke()
    outputs = {details["name"]: details["index"] for details in interpreter.get_output_details()}
    return {name: interpreter.get_tensor(outputs[name]) for name in fetches}
