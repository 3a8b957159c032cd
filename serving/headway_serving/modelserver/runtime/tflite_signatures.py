"""The signatures of a TFLite file: TensorFlow Serving's own, LiteRT's, or one that is made for a file without any.

TensorFlow Serving reads SignatureDef messages from the file's metadata, where its tools put them, and makes one of the
file's inputs and outputs if there are none. LiteRT's signatures, which TensorFlow's converter writes, are served here
too.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import get_model_metadata_pb2

from headway_serving.modelserver.apis.predict import DEFAULT_SIGNATURE
from headway_serving.modelserver.apis.tensor_codec import TensorFormatError, dtype_number
from headway_serving.modelserver.errors import invalid_argument

logger = logging.getLogger(__name__)

_METADATA = b"signature_defs_metadata"
_PREDICT = "tensorflow/serving/predict"

Signatures = Mapping[str, Any]
"""SignatureDef messages by key; the name of a tensor is that in the file."""


def of_runners(interpreter: Any) -> Signatures:
    """Return LiteRT's signatures, which an interpreter runs by key and alias; empty if the file has none."""
    signatures = get_model_metadata_pb2.SignatureDefMap().signature_def
    for key in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(key)
        signature = signatures[key]
        signature.method_name = _PREDICT
        for alias, details in runner.get_input_details().items():
            _describe(details, signature.inputs[alias])
        for alias, details in runner.get_output_details().items():
            _describe(details, signature.outputs[alias])
    return dict(signatures)


def of_metadata(content: bytes, interpreter: Any) -> Signatures:
    """Return the signatures in the metadata of the file ``content``; empty if there are none.

    A single one is ``serving_default``, as in TensorFlow Serving. Raises StatusError INVALID_ARGUMENT for metadata that
    cannot be read, or that name a tensor which is no input or output of the file.
    """
    stored = _stored(content)
    if len(stored) == 1:
        stored = {DEFAULT_SIGNATURE: next(iter(stored.values()))}
    inputs, outputs = _by_name(interpreter.get_input_details()), _by_name(interpreter.get_output_details())
    for key, signature in stored.items():
        for tensors, known in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for alias, tensor in tensors.items():
                name = tensor.name.partition(":")[0]
                details = known.get(tensor.name) or known.get(name)
                if details is None:
                    raise invalid_argument(
                        f"Invalid SignatureDefs found in TfLite model: {key} names the tensor {tensor.name} as "
                        f"{alias}, which is no input or output of the file"
                    )
                tensor.Clear()
                _describe(details, tensor)
    return stored


def made(interpreter: Any) -> Signatures:
    """Return one signature of all inputs and outputs of the file, by their own names."""
    logger.info("No signature def found in TFLite model. Generating one.")
    signature = get_model_metadata_pb2.SignatureDefMap().signature_def[DEFAULT_SIGNATURE]
    signature.method_name = _PREDICT
    for details in interpreter.get_input_details():
        _describe(details, signature.inputs[details["name"]])
    for details in interpreter.get_output_details():
        _describe(details, signature.outputs[details["name"]])
    return {DEFAULT_SIGNATURE: signature}


def _stored(content: bytes) -> dict[str, Any]:
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    flexbuffers = importlib.import_module("flatbuffers.flexbuffers")
    model = schema.Model.GetRootAs(content, 0)
    found = get_model_metadata_pb2.SignatureDefMap().signature_def
    for place in range(model.MetadataLength()):
        metadata = model.Metadata(place)
        if metadata.Name() != _METADATA:
            continue
        try:
            data = bytearray(model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes())
            signatures = flexbuffers.GetRoot(data).AsMap
            for key, value in zip(signatures.Keys, signatures.Values, strict=True):
                found[str(key.AsKey)].ParseFromString(bytes(value.AsStringBytes))
        except (DecodeError, ValueError, AttributeError, IndexError, TypeError, OverflowError) as error:
            raise invalid_argument(f"Invalid SignatureDefs found in TfLite model: {error}") from error
    return dict(found)


def _by_name(details: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the details of tensors by their names, with and without the number they may end in."""
    return {name: each for each in details for name in (each["name"].partition(":")[0], each["name"])}


def _describe(details: Mapping[str, Any], tensor: Any) -> None:
    tensor.name = details["name"]
    dtype = np.dtype(details["dtype"])
    # A dtype that cannot be exchanged stays unset; the requests that use it are refused.
    with suppress(TensorFormatError):
        tensor.dtype = dtype_number(np.empty(0, np.object_ if dtype.kind in "SO" else dtype))
    for size in details["shape_signature"]:
        tensor.tensor_shape.dim.add(size=int(size))
