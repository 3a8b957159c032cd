"""Versions are swapped under load without a failed request, and a stop lets requests end."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from headway_serving.modelserver.apis.tensor_codec import decode
from tests.integration.modelserver.load import Load
from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request
from tests.integration.modelserver.repository_files import config_list, copy_tree
from tests.support.waiting import eventually


def test_five_swaps_under_load_lose_no_request_and_give_no_wrong_answer(saved_models: Path, tmp_path: Path) -> None:
    def publish(version: int) -> None:
        copy_tree(saved_models / f"half_plus_{version}", tmp_path / "half" / str(version))

    def serves(version: int) -> bool:
        return server.stubs.states("half", version=version) == [(version, "AVAILABLE")]

    base_path = f"--model_base_path={tmp_path / 'half'}"
    with ModelServerProcess("--model_name=half", base_path) as server:
        server.wait_for_log("Could not find base path")
        assert not Path(server.target.removeprefix("unix:")).exists(), "listening before a model serves"
        (tmp_path / "half").mkdir()
        publish(1)
        server.wait_until_ready()
        with Load(server) as load:
            for version in (2, 3):
                publish(version)
                server.wait_for_log(f"Successfully loaded servable version {{name: half version: {version}}}")
            for gone in (3, 2):
                shutil.rmtree(tmp_path / "half" / str(gone))
                eventually(partial(serves, gone - 1), f"back to version {gone - 1}")
            publish(3)
            eventually(lambda: serves(3), "version 3 again")
            eventually(lambda: not serves(1), "version 1 unloaded")
        assert load.problems == []
        assert set(load.answers) == {1, 2, 3}
        assert load.answers.total() > 300
        assert server.stubs.states("half") == [(3, "AVAILABLE"), (2, "END"), (1, "END")]


@pytest.mark.parametrize("flags", [[], ["--enable_batching"]], ids=["one_by_one", "batched"])
def test_ten_thousand_predicts_from_32_threads_during_50_swaps(
    saved_models: Path, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "half").mkdir()
    for version in (1, 2):
        copy_tree(saved_models / f"half_plus_{version}", tmp_path / "half" / str(version))

    def serve_only(version: int) -> str:
        policy = f"model_version_policy {{ specific {{ versions: {version} }} }}"
        return config_list(tmp_path, f'name: "half" {policy}')

    config = tmp_path / "models.config"
    config.write_text(serve_only(1))
    with ModelServerProcess(f"--model_config_file={config}", *flags) as server:
        server.wait_until_ready()
        swaps = 0

        def states_are(expected: list[tuple[int, str]]) -> bool:
            return server.stubs.states("half") == expected

        with Load(server, threads=32) as load:
            while (swaps < 50 or load.answers.total() < 10_000) and not load.problems:
                version = 2 - swaps % 2
                server.stubs.reload(serve_only(version))
                other = 3 - version
                expected = sorted([(version, "AVAILABLE"), (other, "END")], reverse=True)
                eventually(partial(states_are, expected), f"{expected}")
                swaps += 1
        assert load.problems == []
        assert load.answers.total() >= 10_000
        assert min(load.answers[1], load.answers[2]) > 100


def test_sigterm_lets_running_requests_end_and_refuses_new_ones(saved_models: Path, tmp_path: Path) -> None:
    (tmp_path / "spin").mkdir()
    copy_tree(saved_models / "spin", tmp_path / "spin" / "1")
    config = tmp_path / "models.config"
    config.write_text(config_list(tmp_path, "spin"))
    with (
        ModelServerProcess(f"--model_config_file={config}", "--shutdown_grace_seconds=60") as server,
        ThreadPoolExecutor() as threads,
    ):
        server.wait_until_ready()
        steps = steps_of_two_seconds(server)
        running = server.stubs.prediction.Predict.future(predict_request("spin", {"n": np.int32(steps)}))
        assert server.stubs.states("spin") == [(1, "AVAILABLE")]  # so the request before it has arrived, too
        assert not running.done()
        server.terminate()
        server.wait_for_log("Shutting down")
        late = threads.submit(first_refusal, server)
        assert late.result(timeout=30) is grpc.StatusCode.UNAVAILABLE
        assert decode(running.result(timeout=60).outputs["counted"]) == steps
        assert server.exit_status() == 0
        assert server.stdout == ""


def test_a_request_that_outlives_the_grace_period_does_not_keep_the_server(saved_models: Path, tmp_path: Path) -> None:
    (tmp_path / "spin").mkdir()
    copy_tree(saved_models / "spin", tmp_path / "spin" / "1")
    flags = ["--model_name=spin", f"--model_base_path={tmp_path / 'spin'}", "--shutdown_grace_seconds=0"]
    with ModelServerProcess(*flags) as server:
        server.wait_until_ready()
        endless = server.stubs.prediction.Predict.future(predict_request("spin", {"n": np.int32(2_000_000_000)}))
        assert server.stubs.states("spin") == [(1, "AVAILABLE")]
        server.terminate()
        assert server.exit_status() == 0
        assert endless.exception(timeout=30) is not None


def steps_of_two_seconds(server: ModelServerProcess) -> int:
    """Return how far `spin` counts in about two seconds on this machine."""
    start = time.monotonic()
    server.stubs.predict("spin", {"n": np.int32(20_000)})
    return int(20_000 * 2 / (time.monotonic() - start))


def first_refusal(server: ModelServerProcess) -> grpc.StatusCode:
    while True:
        try:
            server.stubs.states("spin")
        except grpc.RpcError as error:
            return error.code()
