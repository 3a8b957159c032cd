"""Answers of SavedModels, by the TensorFlow of whichever interpreter runs this file; it needs nothing else.

``python saved_model_answers.py INPUTS ANSWERS DIRECTORY...``: loads each version directory into a session, as
TensorFlow Serving does, and asks every signature that INPUTS (.npz, keys ``directory|signature``) has values for. To
ANSWERS (.npz) go the outputs by the same keys, the signatures' names by ``directory|signatures``, the warm-up records
by ``directory|records`` (hexadecimal), and TensorFlow's version by ``version``.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def ask(directory: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return what the version in ``directory`` answers, by the keys of the answers."""
    answers = {f"{directory}|records": np.array(list(records(Path(directory))))}
    graph = tf.Graph()
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session, graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        names = sorted(name for name in loaded.signature_def if not name.startswith("__"))
        answers[f"{directory}|signatures"] = np.array(names)
        for name in names:
            signature = loaded.signature_def[name]
            (fed,) = signature.inputs.values()
            fetched = {key: tensor.name for key, tensor in sorted(signature.outputs.items(), reverse=True)}
            found = session.run(fetched, {fed.name: inputs[f"{directory}|{name}"]})
            # Of several, the scores and behind them the familiarity.
            output = np.column_stack(list(found.values())) if len(found) > 1 else next(iter(found.values()))
            # Strings as bytes of one length: an archive holds no Python objects.
            answers[f"{directory}|{name}"] = np.array(output.tolist()) if output.dtype == object else output
    return answers


def records(directory: Path) -> Any:
    """Yield the warm-up records as TensorFlow reads them."""
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        yield record.hex()


def main() -> None:
    inputs, answers, *directories = sys.argv[1:]
    found: dict[str, Any] = {"version": np.array(tf.__version__)}
    with np.load(inputs) as values:
        for directory in directories:
            found |= ask(directory, dict(values))
    np.savez(answers, **found)


if __name__ == "__main__":
    main()
