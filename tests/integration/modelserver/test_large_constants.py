"""Large constants cost a small multiple of their size, wherever they stand, and their values stay what they are."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

MEBIBYTE = 1 << 20
SIDE = 6144
"""Of a square of float32: 144 MiB, beyond what is left to the runtime."""

PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from headway_serving.modelserver.runtime.saved_model import SessionConfig
from headway_serving.modelserver.runtime.saved_model_loader import load_saved_model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
model = load_saved_model(Path(sys.argv[1]), frozenset({"serve"}), SessionConfig(bfloat16=sys.argv[2] == "bfloat16"))
signature = model.signatures["serving_default"]
(fed,), (fetched,) = signature.inputs.values(), signature.outputs.values()
rows = np.zeros((1, int(sys.argv[3])), np.float32)
rows[0, 3] = 1
(answer,) = model.run({fed.name: rows}, [fetched.name], None)
print(peak() - before, *answer[0, :4])
"""


def square() -> NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 100, (SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``captured``: the graph hands the constant to a function; ``inside``: it stands in the function's body."""
    folder = tmp_path_factory.mktemp("constants")
    weights = square()
    for name, constant in (("captured", tf.constant(weights)), ("inside", weights)):
        module = tf.Module()
        module.answer = times(constant)
        tf.saved_model.save(module, str(folder / name), signatures=module.answer)
    return folder


def times(constant: Any) -> Any:
    """What multiplies rows by the constant."""
    return tf.function(
        lambda rows: tf.matmul(rows, constant), input_signature=[tf.TensorSpec([None, SIDE], tf.float32)]
    )


@pytest.mark.parametrize(("name", "precision"), [("captured", "bfloat16"), ("inside", "float32")])
def test_a_large_constant_is_in_memory_less_than_three_times(models: Path, name: str, precision: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(models / name), precision, str(SIDE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    risen, *answer = map(float, run.stdout.split())
    size = SIDE * SIDE * 4
    assert answer == square()[3, :4].tolist()
    assert risen < 3 * size, f"{risen / MEBIBYTE:.0f} MiB"
