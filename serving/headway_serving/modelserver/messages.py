"""TensorFlow Serving's messages as far as they are used here.

``tensorflow-serving-api`` ships no types; these Protocols say what a parameter is, so that a misspelt field or a wrong
message is found by the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol


class HasOptionalFields(Protocol):
    """A message of which a reader may ask what was set."""

    def HasField(self, field_name: Any, /) -> bool:  # noqa: N802
        """Whether a field of a message type, or one that is optional, was set."""
        ...

    def WhichOneof(self, oneof_group: Any, /) -> Any:  # noqa: N802
        """The name of the field of a oneof that was set, or None."""
        ...


class Int64Value(Protocol):
    """A whole number that may be absent."""

    value: int


class ModelSpec(HasOptionalFields, Protocol):
    """Which model, version and signature a request means, or an answer came from."""

    name: str
    signature_name: str
    version_label: str

    @property
    def version(self) -> Int64Value:
        """The version's number, if ``version_choice`` is ``version``."""
        ...


class TensorProto(Protocol):
    """An array: ``dtype`` is a DataType's number; values are in ``tensor_content`` or in the field of their dtype."""

    dtype: int
    tensor_content: bytes
    tensor_shape: Any
    string_val: Any
    DESCRIPTOR: Any

    def MergeFromString(self, serialized: bytes, /) -> int:  # noqa: N802
        """Add the fields of a serialized message."""
        ...


class TensorInfo(Protocol):
    """A tensor of the graph: its name, such as ``serving_default_images:0``, its dtype's number and its shape."""

    name: str
    dtype: int
    tensor_shape: Any


class SignatureDef(Protocol):
    """A function of a loaded version: its inputs and outputs by alias; ``defaults`` of inputs that may be left out."""

    method_name: str

    @property
    def inputs(self) -> MutableMapping[str, TensorInfo]:
        """The inputs by alias."""
        ...

    @property
    def outputs(self) -> MutableMapping[str, TensorInfo]:
        """The outputs by alias."""
        ...

    @property
    def defaults(self) -> MutableMapping[str, TensorProto]:
        """The values of inputs that a request leaves out, by alias."""
        ...


class ModelRequest(HasOptionalFields, Protocol):
    """A request to one model."""

    @property
    def model_spec(self) -> ModelSpec:
        """Which one."""
        ...


class PredictRequest(ModelRequest, Protocol):
    """Tensors for a signature; ``output_filter``: the aliases wanted, all if empty."""

    @property
    def inputs(self) -> Mapping[str, TensorProto]:
        """The tensors by alias."""
        ...

    @property
    def output_filter(self) -> Sequence[str]:
        """The outputs that are wanted, by alias."""
        ...


class ExamplesRequest(ModelRequest, Protocol):
    """Classify's or Regress's request: ``input`` holds tf.Example messages."""

    @property
    def input(self) -> Any:
        """The examples, with or without a context that all of them share."""
        ...


class MetadataRequest(ModelRequest, Protocol):
    """GetModelMetadata's request."""

    @property
    def metadata_field(self) -> Sequence[str]:
        """Which metadata are wanted."""
        ...


class ModelServerConfig(HasOptionalFields, Protocol):
    """Which models to serve: a list of them, if the oneof ``config`` says so."""

    @property
    def model_config_list(self) -> Any:
        """The models, in ``config``."""
        ...
