"""Versions are swapped under load without a failed request, and a stop lets requests end."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from headway_serving.modelserver.tensor_codec import decode
from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request
from tests.integration.modelserver.repository_files import config_list, copy_tree
from tests.unit.modelserver.waiting import eventually


class Load:
    """Predicts without pause on several threads; y = x / 2 + version tells which version really answered."""

    def __init__(self, server: ModelServerProcess) -> None:
        self._server = server
        self._stop = threading.Event()
        self.answered: dict[int, int] = {}
        self.problems: list[object] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _run(self) -> None:
        request = predict_request("half", {"x": np.float32([[4.0]])})
        while not self._stop.is_set():
            try:
                response = self._server.stubs.prediction.Predict(request, timeout=30)
            except grpc.RpcError as error:
                self.problems.append(error)
                return
            version = response.model_spec.version.value
            if decode(response.outputs["y"]).tolist() != [[2.0 + version]]:
                self.problems.append(response)
            self.answered[version] = self.answered.get(version, 0) + 1


def test_five_swaps_under_load_lose_no_request_and_give_no_wrong_answer(saved_models: Path, tmp_path: Path):
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
                eventually(lambda gone=gone: serves(gone - 1), f"back to version {gone - 1}")
            publish(3)
            eventually(lambda: serves(3), "version 3 again")
            eventually(lambda: not serves(1), "version 1 unloaded")
        assert load.problems == []
        assert set(load.answered) == {1, 2, 3}
        assert sum(load.answered.values()) > 300
        assert server.stubs.states("half") == [(3, "AVAILABLE"), (2, "END"), (1, "END")]


def test_sigterm_lets_running_requests_end_and_refuses_new_ones(saved_models: Path, tmp_path: Path):
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


def test_a_request_that_outlives_the_grace_period_does_not_keep_the_server(saved_models: Path, tmp_path: Path):
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
