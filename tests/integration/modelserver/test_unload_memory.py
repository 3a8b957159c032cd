"""What a version takes, it gives back."""

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf

from tests.integration.modelserver.model_server_process import ModelServerProcess
from tests.integration.modelserver.repository_files import config_list
from tests.support.waiting import eventually

CYCLES = 20


class Wide(tf.Module):
    """A matrix of 64 MiB, which a request multiplies with."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = tf.Variable(tf.random.normal([4096, 4096]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4096], tf.float32, name="x")])
    def product(self, x: Any) -> Any:
        return {"y": tf.reduce_mean(tf.matmul(x, self.matrix), axis=1)}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A repository of two versions of the model."""
    for version in (1, 2):
        module = Wide()
        tf.saved_model.save(module, str(tmp_path / "wide" / str(version)), signatures=module.product)
    return tmp_path


@pytest.mark.parametrize("flags", [[], ["--enable_batching"]], ids=["one_by_one", "batched"])
def test_20_load_and_unload_cycles_grow_the_process_by_less_than_10_percent(wide: Path, flags: list[str]) -> None:
    def serve_only(version: int) -> str:
        return config_list(wide, f'name: "wide" model_version_policy {{ specific {{ versions: {version} }} }}')

    config = wide / "models.config"
    config.write_text(serve_only(1))
    with ModelServerProcess(f"--model_config_file={config}", *flags) as server:
        server.wait_until_ready()
        x = {"x": np.ones([4, 4096], np.float32)}
        server.stubs.predict("wide", x)

        def swap(version: int) -> None:
            server.stubs.reload(serve_only(version))
            expected = sorted([(version, "AVAILABLE"), (3 - version, "END")], reverse=True)
            eventually(lambda: server.stubs.states("wide") == expected, f"{expected}")
            server.stubs.predict("wide", x)

        # Once before counting: on some processors oneDNN keeps, for the life of the process, one matrix in its own
        # layout for every shape of product that a second graph has asked it for.
        swap(2)
        before = psutil.Process(server.process.pid).memory_info().rss
        for cycle in range(CYCLES):
            swap(1 + cycle % 2)
        after = psutil.Process(server.process.pid).memory_info().rss
    assert after < 1.1 * before, f"{before >> 20} MiB became {after >> 20} MiB"
