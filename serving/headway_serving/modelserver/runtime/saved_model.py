"""SavedModels run by TensorFlow's C++ session. Only this file and ``saved_model_loader`` import TensorFlow.

A run goes straight to the C API, as TensorFlow Serving's does: no shape is compared with the signature and no
dtype is converted on the way, so codes and texts are those of the runtime. What would end the whole process, a
convolution of a tensor of another rank, the graph itself refuses (:mod:`rank_guards`).
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.process import text_config
from headway_serving.modelserver.runtime import rank_guards
from headway_serving.modelserver.runtime.row_bounds import RowBounds


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


logger = logging.getLogger(__name__)

with _native_errors_only():
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.framework import errors_impl
    from tensorflow.python.lib.io import _pywrap_record_io


@dataclass(frozen=True)
class SessionConfig:
    """TensorFlow's threads within and between ops; 0 lets TensorFlow choose. The first session decides for all.

    ``gpu_memory_fraction``, 0 to 1, is the share of a GPU's memory to use, 0 as much as is needed. With ``bfloat16``
    oneDNN computes in bfloat16 what bears it, with weights made constants. ``base`` is a serialized ConfigProto message
    that says the rest.
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    gpu_memory_fraction: float = 0.0
    bfloat16: bool = False
    base: bytes = b""


class GraphSession:
    """A session on a graph, spoken to in TensorFlow's C API: the graph itself never becomes Python objects.

    ``graph_def`` is a GraphDef message; ``operations`` are the names of those operations in it that runs will feed,
    fetch or run. Raises StatusError if the runtime refuses the graph.
    """

    def __init__(self, graph_def: Any, operations: Collection[str], config: SessionConfig) -> None:
        known = {node.name for node in graph_def.node}
        names = sorted(known.intersection(operations))
        self._graph = pywrap_tf_session.PyGraph()
        self._operations = dict(zip(names, _import(self._graph, graph_def, names), strict=True))
        self._outputs: dict[str, Any] = {}
        options = pywrap_tf_session.TF_NewSessionOptions(target=None, config=_config_proto(config))
        try:
            with runtime_errors():
                self._session = pywrap_tf_session.TF_NewSessionRef(self._graph, options)
        finally:
            pywrap_tf_session.TF_DeleteSessionOptions(options)

    def run(
        self,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str] = (),
        targets: Sequence[str] = (),
        timeout_ms: int | None = None,
    ) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches`` after feeding ``feeds`` and running the operations ``targets``.

        ``timeout_ms`` limits the run in milliseconds; None is no limit. Raises StatusError.
        """
        fed = {self._output(name): value for name, value in feeds.items()}
        fetched = [self._output(name) for name in fetches]
        run = [self._operation(name) for name in targets]
        with runtime_errors(), _run_options(timeout_ms) as run_options:
            outputs = pywrap_tf_session.TF_SessionRun_wrapper(self._session, run_options, fed, fetched, run, None)
        return [_as_array(output) for output in outputs]

    def measure(self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str]) -> tuple[list[NDArray[Any]], int]:
        """Return what ``run`` does, and the bytes that all operations of the run allocated together."""
        fed = {self._output(name): value for name, value in feeds.items()}
        fetched = [self._output(name) for name in fetches]
        traced = config_pb2.RunOptions(trace_level=config_pb2.RunOptions.SOFTWARE_TRACE).SerializeToString()
        options, metadata = pywrap_tf_session.TF_NewBufferFromString(traced), pywrap_tf_session.TF_NewBuffer()
        try:
            with runtime_errors():
                outputs = pywrap_tf_session.TF_SessionRun_wrapper(self._session, options, fed, fetched, [], metadata)
            devices = config_pb2.RunMetadata.FromString(pywrap_tf_session.TF_GetBuffer(metadata)).step_stats.dev_stats
        finally:
            pywrap_tf_session.TF_DeleteBuffer(options)
            pywrap_tf_session.TF_DeleteBuffer(metadata)
        used = (memory.total_bytes for device in devices for node in device.node_stats for memory in node.memory)
        return [_as_array(output) for output in outputs], sum(used)

    def close(self) -> None:
        """Cancel what runs, release the session and the graph, and give the memory back to the system."""
        pywrap_tf_session.TF_CloseSession(self._session)
        pywrap_tf_session.TF_DeleteSession(self._session)
        self._operations.clear()
        self._outputs.clear()
        del self._session, self._graph
        _return_free_memory()

    def _output(self, name: str) -> Any:
        """Return what the C API takes for the tensor ``name``, an operation's name with ``:`` and a number."""
        output = self._outputs.get(name)
        if output is None:
            operation, _, index = name.partition(":")
            output = pywrap_tf_session.TF_Output()
            output.oper = self._operation(operation, name)
            output.index = int(index or 0)
            if output.index >= pywrap_tf_session.TF_OperationNumOutputs(output.oper):
                raise invalid_argument(f"Tensor {name} was not found in the graph")
            self._outputs[name] = output
        return output

    def _operation(self, name: str, tensor: str = "") -> Any:
        operation = self._operations.get(name)
        if operation is None:
            raise invalid_argument(f"Tensor {tensor or name} was not found in the graph")
        return operation


class SavedModel:
    """One loaded SavedModel. ``signatures`` maps a signature's key to its SignatureDef message.

    ``bounds`` runs requests as far as the memory holds their rows; without them, all rows are run at once.
    """

    def __init__(self, session: GraphSession, signatures: Mapping[str, Any], bounds: RowBounds | None = None) -> None:
        self._session = session
        self._bounds = bounds
        self.signatures = signatures

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], timeout_ms: int | None
    ) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches`` after feeding ``feeds`` (name of a tensor -> its value).

        ``timeout_ms`` limits the run in milliseconds; None is no limit. Raises StatusError with the runtime's
        code and text, DEADLINE_EXCEEDED when the limit has passed, RESOURCE_EXHAUSTED for more rows than the memory
        holds.
        """
        if self._bounds is None:
            return self._session.run(feeds, fetches, timeout_ms=timeout_ms)
        return self._bounds.run(feeds, fetches, timeout_ms)

    def close(self) -> None:
        """Cancel what runs and release the memory."""
        self._session.close()


def read_session_config(path: Path) -> bytes:
    """Return the ConfigProto message written as text in ``path``, serialized; raises StatusError if it is none."""
    message: bytes = text_config.read(path, config_pb2.ConfigProto()).SerializeToString()
    return message


def read_tfrecords(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file. Raises StatusError DATA_LOSS where it is damaged or is no such file."""
    with runtime_errors():
        yield from _pywrap_record_io.RecordIterator(str(path), "")


@contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn whatever the runtime raises into StatusError.

    What its Python interface refuses becomes INVALID_ARGUMENT: its exception is for the log, not for a client.
    """
    try:
        yield
    except errors_impl.OpError as error:
        raise StatusError(Code(error.error_code), rank_guards.text_of_refusal(error.message)) from error
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        logger.warning("TensorFlow's Python interface refused: %s: %s", type(error).__name__, error)
        raise invalid_argument(
            "The TensorFlow runtime cannot take these values, or has put out some that cannot be read; "
            "the server's log says more"
        ) from error


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


def _as_array(output: Any) -> NDArray[Any]:
    """Return what a run has put out as an array: the C API gives a scalar as a number of NumPy's, a string as bytes."""
    return np.array(output, np.object_) if isinstance(output, bytes) else np.asarray(output)


def _config_proto(config: SessionConfig) -> Any:
    proto = config_pb2.ConfigProto.FromString(config.base)
    proto.intra_op_parallelism_threads = config.intra_op_threads
    proto.inter_op_parallelism_threads = config.inter_op_threads
    proto.gpu_options.per_process_gpu_memory_fraction = config.gpu_memory_fraction
    if config.bfloat16:
        proto.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return proto


def _import(graph: Any, graph_def: Any, operations: Sequence[str]) -> list[Any]:
    """Add the nodes of a GraphDef message to the empty ``graph``; return those of its ``operations``."""
    options = pywrap_tf_session.TF_NewImportGraphDefOptions()
    buffer = pywrap_tf_session.TF_NewBufferFromString(graph_def.SerializeToString())
    try:
        pywrap_tf_session.TF_ImportGraphDefOptionsSetPrefix(options, "")
        for name in operations:
            pywrap_tf_session.TF_ImportGraphDefOptionsAddReturnOperation(options, name)
        with runtime_errors():
            results = pywrap_tf_session.TF_GraphImportGraphDefWithResults(graph, buffer, options)
        try:
            returned: list[Any] = pywrap_tf_session.TF_ImportGraphDefResultsReturnOperations(results)
            return returned
        finally:
            pywrap_tf_session.TF_DeleteImportGraphDefResults(results)
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)
        pywrap_tf_session.TF_DeleteImportGraphDefOptions(options)


def _return_free_memory() -> None:
    """Hand freed heap pages back to the system (glibc); a no-op with other C libraries."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
