"""Requests without pause, whose answers tell which version really gave them."""

from collections import Counter

import grpc
import numpy as np

from headway_serving.modelserver.apis.tensor_codec import decode
from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request
from tests.support.threads import Repeating


class Load(Repeating):
    """Predicts on several threads inside a `with` block: y = x / 2 + version for the versions of `half`.

    `problems` collects calls that failed and answers that another version gave than the one they name.
    """

    def __init__(self, server: ModelServerProcess, threads: int = 4) -> None:
        super().__init__(threads, join_seconds=30)
        self.problems: list[object] = []
        self._server = server
        self._versions: list[int] = []

    @property
    def answers(self) -> Counter[int]:
        """How many answers each version has given."""
        return Counter(self._versions)

    def run(self, _: int) -> None:
        request = predict_request("half", {"x": np.array([[4.0]], np.float32)})
        while not self.stopping.is_set():
            try:
                response = self._server.stubs.prediction.Predict(request, timeout=30)
            except grpc.RpcError as error:
                self.problems.append(error)
                return
            version = response.model_spec.version.value
            if decode(response.outputs["y"]).tolist() != [[2.0 + version]]:
                self.problems.append(response)
            self._versions.append(version)
