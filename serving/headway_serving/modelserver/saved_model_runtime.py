"""SavedModels run by TensorFlow's C++ session. The only file of the serving packages that imports TensorFlow.

A run goes straight to the C API, as TensorFlow Serving's does: no shape is compared with the signature and no
dtype is converted on the way, so codes and texts are those of the runtime. One thing is checked before it:
a tensor for an input of rank 4 must have rank 4, because TensorFlow 2.21 with oneDNN ends the whole process
when a convolution gets another rank. The text is the one the runtime gives where oneDNN is off.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from headway_serving.modelserver import text_config
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument


@contextmanager
def _native_errors_only() -> Iterator[None]:
    """Keep the C++ library's greeting (no CUDA found, CPU features) off stderr while it is loaded."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


with _native_errors_only():
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.client import session as tf_session
    from tensorflow.python.framework import errors_impl, ops
    from tensorflow.python.lib.io import _pywrap_record_io
    from tensorflow.python.saved_model import loader_impl

_CONVOLUTION_RANK = 4


@dataclass(frozen=True)
class SessionConfig:
    """TensorFlow's threads within and between ops; 0 lets TensorFlow choose. The first session decides for all.

    `gpu_memory_fraction`, 0 to 1, is the share of a GPU's memory to use, 0 as much as is needed. `base` is a
    serialized ConfigProto message that says the rest.
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    gpu_memory_fraction: float = 0.0
    base: bytes = b""


class SavedModel:
    """One loaded SavedModel. `signatures` maps a signature's key to its SignatureDef message."""

    def __init__(self, graph: Any, session: Any, signatures: Mapping[str, Any]) -> None:
        self._graph = graph
        self._session = session
        self._endpoints: dict[str, Any] = {}
        self.signatures = signatures
        self._images = frozenset(
            tensor.name
            for signature in signatures.values()
            for tensor in signature.inputs.values()
            if len(tensor.tensor_shape.dim) == _CONVOLUTION_RANK
        )

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], timeout_ms: int | None
    ) -> list[NDArray[Any]]:
        """Return the tensors named `fetches` after feeding `feeds` (name of a tensor -> its value).

        `timeout_ms` limits the run in milliseconds; None is no limit. Raises StatusError with the runtime's
        code and text, DEADLINE_EXCEEDED when the limit has passed.
        """
        for name, value in feeds.items():
            if name in self._images and value.ndim != _CONVOLUTION_RANK:
                shape = ",".join(map(str, value.shape))
                raise invalid_argument(f"convolution input must be 4-dimensional: [{shape}]")
        fed = {self._endpoint(name): value for name, value in feeds.items()}
        fetched = [self._endpoint(name) for name in fetches]
        with _runtime_errors(), _run_options(timeout_ms) as run_options:
            outputs: list[NDArray[Any]] = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, run_options, fed, fetched, [], None
            )
        return outputs

    def close(self) -> None:
        """Cancel what runs, release the session and the graph, and give the memory back to the system."""
        self._session.close()
        self._session = None
        self._endpoints.clear()
        ops.dismantle_graph(self._graph)
        self._graph = None
        gc.collect()  # TensorFlow's Python graph is full of cycles
        _return_free_memory()

    def _endpoint(self, name: str) -> Any:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            try:
                endpoint = self._graph.get_tensor_by_name(name)._as_tf_output()
            except (KeyError, ValueError) as error:
                raise invalid_argument(f"Tensor {name} was not found in the graph") from error
            self._endpoints[name] = endpoint
        return endpoint


def load_saved_model(directory: Path, tags: frozenset[str], config: SessionConfig) -> SavedModel:
    """Load the graph tagged `tags` of the SavedModel in `directory`, restore its variables and initialize it.

    Raises StatusError: NOT_FOUND without a SavedModel or such a graph, DATA_LOSS if the file is damaged, else the
    runtime's own code and text.
    """
    reader = _open_saved_model(directory, tags)
    graph = ops.Graph()
    session = tf_session.Session(graph=graph, config=_config_proto(config))
    try:
        with _runtime_errors():
            meta_graph = reader.load(session, tags)
    except BaseException:
        session.close()
        raise
    return SavedModel(graph, session, _copy_signatures(meta_graph))


def read_session_config(path: Path) -> bytes:
    """Return the ConfigProto message written as text in `path`, serialized; raises StatusError if it is none."""
    message: bytes = text_config.read(path, config_pb2.ConfigProto()).SerializeToString()
    return message


def read_tfrecords(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file. Raises StatusError DATA_LOSS where it is damaged or is no such file."""
    with _runtime_errors():
        yield from _pywrap_record_io.RecordIterator(str(path), "")


@contextmanager
def _runtime_errors() -> Iterator[None]:
    """Turn whatever the runtime raises into StatusError; Python-side refusals become INVALID_ARGUMENT."""
    try:
        yield
    except errors_impl.OpError as error:
        raise StatusError(Code(error.error_code), error.message) from error
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise invalid_argument(f"{type(error).__name__}: {error}") from error


@contextmanager
def _run_options(timeout_ms: int | None) -> Iterator[Any]:
    if timeout_ms is None:
        yield None
        return
    if timeout_ms <= 0:
        raise StatusError(Code.DEADLINE_EXCEEDED, "The deadline had passed before the run began")
    options = config_pb2.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
    buffer = pywrap_tf_session.TF_NewBufferFromString(options)
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)


def _config_proto(config: SessionConfig) -> Any:
    proto = config_pb2.ConfigProto.FromString(config.base)
    proto.intra_op_parallelism_threads = config.intra_op_threads
    proto.inter_op_parallelism_threads = config.inter_op_threads
    proto.gpu_options.per_process_gpu_memory_fraction = config.gpu_memory_fraction
    return proto


def _open_saved_model(directory: Path, tags: frozenset[str]) -> Any:
    files = [directory / "saved_model.pb", directory / "saved_model.pbtxt"]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise StatusError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {directory}. Check that "
            "the directory exists and that you have the right permissions for accessing it.",
        )
    try:
        reader = loader_impl.SavedModelLoader(str(directory))
    except OSError as error:
        kind = "binary" if path.suffix == ".pb" else "text"
        raise StatusError(Code.DATA_LOSS, f"Can't parse {path} as {kind} proto") from error
    try:
        reader.get_meta_graph_def_from_tags(tags)
    except RuntimeError as error:
        raise StatusError(
            Code.NOT_FOUND,
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(sorted(tags))} }}. To inspect "
            "available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
        ) from error
    return reader


def _copy_signatures(meta_graph: Any) -> dict[str, Any]:
    """Copy the signatures out of the graph's message, which is as large as the graph, so that it can go."""
    signatures: dict[str, Any] = {}
    for key, signature in meta_graph.signature_def.items():
        signatures[key] = type(signature)()
        signatures[key].CopyFrom(signature)
    return signatures


def _return_free_memory() -> None:
    """Hand freed heap pages back to the system (glibc); a no-op with other C libraries."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
