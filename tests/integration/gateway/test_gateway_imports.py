"""The gateway's process stays free of TensorFlow, whatever it imports on the way."""

import subprocess
import sys

CODE = """
import sys
import headway_serving.gateway.composition, headway_serving.gateway.__main__
print(sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "tensorflow_serving", "keras"}))
"""


def test_importing_the_gateway_leaves_tensorflow_out() -> None:
    process = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert process.stdout.strip() == "[]"
