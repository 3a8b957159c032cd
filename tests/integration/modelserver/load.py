"""Requests without pause, whose answers tell which version really gave them."""

import threading
from collections import Counter

import grpc
import numpy as np

from headway_serving.modelserver.tensor_codec import decode
from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request


class Load:
    """Predicts on several threads inside a `with` block: y = x / 2 + version for the versions of `half`.

    `problems` collects calls that failed and answers that another version gave than the one they name.
    """

    def __init__(self, server: ModelServerProcess, threads: int = 4) -> None:
        self.problems: list[object] = []
        self._server = server
        self._stop = threading.Event()
        self._versions: list[int] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    @property
    def answers(self) -> Counter[int]:
        """How many answers each version has given."""
        return Counter(self._versions)

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
            self._versions.append(version)
