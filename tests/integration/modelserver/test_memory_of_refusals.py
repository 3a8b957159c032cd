"""What a refused request held returns at once: on a model server whose cycle collector never runs."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2

from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request, refusal
from tests.integration.modelserver.repository_files import HALF, config_list
from tests.support.ports import free_port

WITHOUT_COLLECTOR = (
    sys.executable, "-c",
    "import gc, sys; gc.disable(); from headway_serving.modelserver.__main__ import main; sys.exit(main())",
)  # fmt: skip
ROUNDS = 12
ALLOWED = 60 * 2**20
LARGE = np.zeros([4_000_000, 1], np.float32)  # 16 MB


class Server:
    """A model server with half plus two, and its REST port."""

    def __init__(self, process: ModelServerProcess, rest_port: int) -> None:
        self.process, self.rest_port = process, rest_port

    def memory(self) -> int:
        return int(psutil.Process(self.process.process.pid).memory_info().rss)

    def post(self, path: str, body: bytes) -> int:
        """The status of a REST answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module", params=[[], ["--enable_batching"]], ids=["one by one", "batched"])
def server(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    config, rest_port = tmp_path_factory.mktemp("memory") / "models.config", free_port()
    config.write_text(config_list(repository, HALF))
    flags = [f"--model_config_file={config}", f"--rest_api_port={rest_port}", *request.param]
    with ModelServerProcess(*flags, command=WITHOUT_COLLECTOR) as process:
        yield Server(process.wait_until_ready(), rest_port)


def predict(server: Server, inputs: dict[str, Any], **spec: Any) -> str:
    return refusal(server.process.stubs.prediction.Predict, predict_request("half", inputs, **spec))


def classify(server: Server) -> str:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].bytes_list.value.append(bytes(16_000_000))
    return refusal(server.process.stubs.prediction.Classify, request)


def multi_inference(server: Server) -> str:
    request = inference_pb2.MultiInferenceRequest()
    request.tasks.add().model_spec.name = "half"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].bytes_list.value.append(bytes(16_000_000))
    return refusal(server.process.stubs.prediction.MultiInference, request)


def too_late(server: Server) -> str:
    request = predict_request("half", {"x": LARGE})
    with pytest.raises(grpc.RpcError) as caught:
        server.process.stubs.prediction.Predict(request, timeout=0.0005)
    return str(caught.value.code().name)


REST = "/v1/models/half:predict"
NUMBERS = b'{"instances": [' + b",".join([b"[1.0]"] * 200_000)
REFUSALS = {
    "an unknown model": lambda server: refusal(
        server.process.stubs.prediction.Predict, predict_request("nobody", {"x": LARGE})
    ),
    "an unknown version": lambda server: predict(server, {"x": LARGE}, version=9),
    "an unknown signature": lambda server: predict(server, {"x": LARGE}, signature="nothing"),
    "an unknown input": lambda server: predict(server, {"y": LARGE}),
    "an input too many": lambda server: predict(server, {"x": LARGE, "y": LARGE[:1]}),
    "a wrong dtype": lambda server: predict(server, {"x": LARGE.astype(np.int32)}),
    "unequal rows": lambda server: predict(server, {"a": LARGE.ravel(), "b": LARGE.ravel()[:7]}, signature="add"),
    "examples": classify,
    "several signatures": multi_inference,
    "no time": too_late,
    "REST, no JSON": lambda server: server.post(REST, NUMBERS),
    "REST, an unknown model": lambda server: server.post("/v1/models/nobody:predict", NUMBERS + b"]}"),
    "REST, rows of two lengths": lambda server: server.post(REST, NUMBERS + b", [1.0, 2.0]]}"),
    "REST, no numbers": lambda server: server.post(REST, json.dumps({"instances": ["x" * 8_000_000]}).encode()),
}


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
def test_memory_returns_without_the_collector(server: Server, refuse: Any) -> None:
    def grown() -> int:
        before = server.memory()
        for _ in range(ROUNDS):
            assert refuse(server) != 200
        return server.memory() - before

    # The allocators of Python and of the C library settle in the first rounds; a cycle would go on growing.
    assert any(grown() < ALLOWED for _ in range(4))
