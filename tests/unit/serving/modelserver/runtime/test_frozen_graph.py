"""Which graphs are frozen by their size; what freezing does to one, the tests of mixed precision show."""

from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from tensorflow_serving.apis import get_model_metadata_pb2

from headway_serving.modelserver.runtime import frozen_graph

assert get_model_metadata_pb2.DESCRIPTOR is not None, "it brings TensorFlow's messages along"


def graph_of_one_variable() -> Any:
    found = descriptor_pool.Default().FindMessageTypeByName("tensorflow.GraphDef")
    message: Any = message_factory.GetMessageClass(found)()
    message.node.add(name="weights", op="VarHandleOp").attr["dtype"].type = 1
    message.node.add(name="read", op="ReadVariableOp", input=["weights"]).attr["dtype"].type = 1
    return message


@pytest.mark.parametrize(("memory", "most"), [(4 << 20, 0.1), (400 << 20, 10), (1 << 40, 128)])
def test_weights_that_would_take_too_much_stay_variables(
    monkeypatch: pytest.MonkeyPatch, memory: int, most: float
) -> None:
    monkeypatch.setattr(frozen_graph, "memory_of_process", lambda: memory)
    weights = np.zeros(int(most * (1 << 20)) // 4 - 1000, np.float32)
    fitting = graph_of_one_variable()
    frozen_graph.freeze(fitting, {"weights": weights})
    assert [node.op for node in fitting.node] == ["Const", "Identity"]
    with pytest.raises(frozen_graph.CannotFreeze, match=f"graph and weights take more than {int(most)} MiB"):
        frozen_graph.freeze(graph_of_one_variable(), {"weights": np.zeros(weights.size + 2000, np.float32)})
