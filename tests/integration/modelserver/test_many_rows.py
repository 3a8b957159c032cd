"""Requests of very many rows: a server that has little memory answers them in parts or refuses them, and lives."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from headway_contract.model_repository import MANIFEST_FILE
from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.model_server_process import ModelServerProcess, refusal
from tests.integration.modelserver.repository_files import config_list, copy_tree

MEMORY = 256 << 20
WITH_LITTLE_MEMORY = (
    sys.executable, "-c",
    f"import sys; from headway_serving.modelserver.process import memory; memory.memory_of_process = lambda: {MEMORY}; "
    "from headway_serving.modelserver.__main__ import main; sys.exit(main())",
)  # fmt: skip
ROWS = 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    """A server of one model as `theirs`, as `ours` with a manifest and a warm-up request, and of `counting`."""
    root = tmp_path_factory.mktemp("rows")
    tiny_models.save_growing(root / "theirs" / "1")
    (root / "ours").mkdir()
    copy_tree(root / "theirs" / "1", root / "ours" / "1")
    (root / "ours" / "1" / "assets.extra").mkdir()
    (root / "ours" / "1" / "assets.extra" / "tf_serving_warmup_requests").touch()
    (root / "ours" / "1" / MANIFEST_FILE).write_text("{}")
    tiny_models.save_counting(root / "counting" / "1")
    config = root / "models.config"
    config.write_text(config_list(root, "theirs", "ours", "counting"))
    with ModelServerProcess(f"--model_config_file={config}", command=WITH_LITTLE_MEMORY) as running:
        yield running.wait_until_ready()


def test_20_000_rows_of_a_version_of_ours_are_answered_in_parts(server: ModelServerProcess) -> None:
    images = np.repeat(np.arange(ROWS, dtype=np.float32), 64).reshape(ROWS, 8, 8, 1)
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss

    def ask(_: int) -> float:
        found = server.stubs.predict("ours", {"images": images})["means"]
        assert found.tolist() == np.arange(ROWS).tolist()
        return process.memory_info().rss - before

    with ThreadPoolExecutor(4) as threads:
        # All rows at once would take 5 GB, four times.
        assert max(threads.map(ask, range(4))) < 2 * MEMORY


def test_20_000_rows_of_other_versions_are_refused_with_what_would_fit(server: ModelServerProcess) -> None:
    images = {"images": np.zeros([ROWS, 8, 8, 1], np.float32)}
    refused = refusal(server.stubs.predict, "theirs", images)
    assert refused.startswith(f"RESOURCE_EXHAUSTED: {ROWS} rows may take ")
    most = int(refused.split("at most ")[1].split()[0])
    fitting = {"images": images["images"][:most]}
    assert server.stubs.predict("theirs", fitting)["means"].shape == (most,)


@pytest.mark.parametrize("model", ["ours", "theirs"])
def test_40_000_empty_texts_do_not_become_a_third_of_a_gigabyte(server: ModelServerProcess, model: str) -> None:
    texts = np.full(40_000, b"", object)
    refused = refusal(server.stubs.predict, model, {"texts": texts}, signature="texts")
    assert refused == (
        "RESOURCE_EXHAUSTED: The answer to 40000 rows would have about 327680000 bytes; there may be 16777216. Send at "
        "most 2048 rows at a time, or ask for fewer outputs."
    )
    answered = server.stubs.predict(model, {"texts": texts[:2048]}, signature="texts")
    assert len(answered["texts"]) == 2048


def test_a_model_that_counts_its_runs_is_run_once(server: ModelServerProcess) -> None:
    counted = [server.stubs.predict("counting", {"n": np.ones(50, np.int32)})["count"][0] for _ in range(3)]
    assert counted == [1, 2, 3]


def test_an_export_with_larger_warm_up_requests_than_batches_loads(saved_models: Path, tmp_path: Path) -> None:
    copy_tree(saved_models / "picture", tmp_path / "1")
    records = [tiny_models.predict_record("images", np.ones([rows, 8, 8, 1], np.uint8)) for rows in (1, 8, 32)]
    tiny_models.write_warmup(tmp_path / "1", records)
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 8 }")
    flags = ["--enable_batching", f"--batching_parameters_file={parameters}", f"--model_base_path={tmp_path}"]
    with ModelServerProcess(*flags, "--max_num_load_retries=0") as running:
        running.wait_until_ready()
        images = np.full([8, 8, 8, 1], 2, np.uint8)
        assert running.stubs.predict("default", {"images": images})["scores"].tolist() == [[18, 18]] * 8
        assert "is passed over: Task size 32 is larger than maximum input batch size 8" in running.stderr
