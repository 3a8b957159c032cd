"""Lets ``import tensorflow.<part>`` load that part alone, so that the server starts in seconds.

TensorFlow's own package file imports Keras and the whole public API: about 9 s of processor time and 260 MB
that a server of finished graphs never uses. A plain package of the same name and place makes Python import
only the parts that are named: the session, the SavedModel reader and the protocol messages.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types


def install() -> None:
    """Put the plain package in place and choose a quiet runtime; does nothing if TensorFlow is already imported.

    Raises ModuleNotFoundError if TensorFlow is not installed. Environment variables already set are kept.
    """
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("TensorFlow is not installed. Install it with: pip install 'headway[serving]'")
    _choose_runtime()
    package = types.ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["tensorflow"] = package


def _choose_runtime() -> None:
    # Errors of a load or a run come back as statuses, which the server logs or sends; what the library would
    # write at level 2 beside them is mostly the missing GPU. Fatal lines are written at every level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Convolutions take half the processor time with oneDNN, which TensorFlow itself switches on only where the
    # processor has AVX-512's or AMX's instructions for neural networks.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # With --mixed_precision=bfloat16 scores shall still be probabilities, of 24 bits instead of 8, that sum to 1.
    for change in ("INFERLIST_REMOVE", "DENYLIST_ADD"):
        os.environ.setdefault(f"TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_{change}", "Softmax")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
