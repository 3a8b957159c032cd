"""Runs a SavedModel's signatures in a TF1 session, as TensorFlow Serving does."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf


class SessionModel:
    """A loaded SavedModel. ``signatures`` gives, by name, ``(inputs, outputs)`` as ``{key: (dtype, shape)}``."""

    def __init__(self, session: Any, signature_def: Any) -> None:
        self._session = session
        self._signature_def = signature_def

    @property
    def signatures(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        return {
            name: (_tensors(signature.inputs), _tensors(signature.outputs))
            for name, signature in self._signature_def.items()
            if not name.startswith("__")
        }

    def run(self, name: str, values: Any, output: str | None = None) -> Any:
        """Feed the one input of a signature and fetch ``output``; None: its scores, or its only one."""
        signature = self._signature_def[name]
        (fed,), outputs = signature.inputs.values(), signature.outputs
        wanted = output or ("scores" if "scores" in outputs else next(iter(outputs)))
        return self._session.run(outputs[wanted].name, {fed.name: values})


def _tensors(tensors: Any) -> dict[str, Any]:
    return {
        key: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
        for key, info in tensors.items()
    }


@contextlib.contextmanager
def loaded(directory: Path) -> Iterator[SessionModel]:
    """Load a version directory for as long as the context lasts."""
    graph = tf.Graph()
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session:
        # Only here: the tests that run meanwhile use eager TensorFlow.
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(directory))
        yield SessionModel(session, dict(meta_graph.signature_def))
