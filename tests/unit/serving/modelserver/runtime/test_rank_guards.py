"""Where a graph gets a guard, and how its refusal is worded; what the guards refuse, a server shows elsewhere."""

from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from tensorflow_serving.apis import get_model_metadata_pb2

from headway_serving.modelserver.runtime.rank_guards import add_guards, text_of_refusal

assert get_model_metadata_pb2.DESCRIPTOR is not None, "it brings TensorFlow's messages along"


def graph(*nodes: tuple[str, str, list[str]]) -> Any:
    """A GraphDef of nodes (name, operation, inputs)."""
    found = descriptor_pool.Default().FindMessageTypeByName("tensorflow.GraphDef")
    message: Any = message_factory.GetMessageClass(found)()
    for name, operation, inputs in nodes:
        message.node.add(name=name, op=operation, input=inputs)
    return message


def inputs(message: Any) -> dict[str, list[str]]:
    return {node.name: list(node.input) for node in message.node}


def test_the_first_convolution_is_guarded_and_those_behind_it_are_not() -> None:
    message = graph(
        ("x", "Placeholder", []),
        ("float", "Cast", ["x"]),
        ("first", "Conv2D", ["float", "weights"]),
        ("relu", "Relu", ["first"]),
        ("sum", "AddV2", ["relu", "first:0"]),
        ("second", "DepthwiseConv2dNative", ["sum:0", "weights"]),
    )
    assert add_guards(message, ["x"]) == 1
    guard = message.node[-1]
    assert (guard.op, list(guard.input)) == ("EnsureShape", ["float"])
    assert [dim.size for dim in guard.attr["shape"].shape.dim] == [-1] * 4
    assert inputs(message)["first"] == [guard.name, "weights"]
    assert inputs(message)["second"] == ["sum:0", "weights"]


def test_convolutions_of_one_tensor_share_a_guard() -> None:
    message = graph(
        ("x", "Placeholder", []), ("a", "Conv2D", ["x", "w"]), ("b", "Conv2D", ["x", "w"]), ("c", "Conv3D", ["x", "w"])
    )
    assert add_guards(message, []) == 2


def test_what_a_request_may_replace_has_any_rank() -> None:
    nodes = [("x", "Placeholder", []), ("first", "Conv2D", ["x", "w"]), ("second", "Conv2D", ["first", "w"])]
    assert add_guards(graph(*nodes), ["first"]) == 2
    assert add_guards(graph(*nodes), ["second"]) == 1


def test_the_statistics_of_a_normalization_are_not_its_picture() -> None:
    nodes = [("x", "Placeholder", []), ("first", "Conv2D", ["x", "w"]), ("norm", "FusedBatchNormV3", ["first"])]
    assert add_guards(graph(*nodes, ("second", "Conv2D", ["norm", "w"])), []) == 1
    assert add_guards(graph(*nodes, ("second", "Conv2D", ["norm:1", "w"])), []) == 2


def test_a_function_s_argument_has_any_rank() -> None:
    message = graph()
    function = message.library.function.add()
    function.node_def.add(name="first", op="Conv2D", input=["images", "weights"])
    function.node_def.add(name="norm", op="FusedBatchNormV3", input=["first:output:0"])
    function.node_def.add(name="second", op="Conv2D", input=["norm:y:0", "weights"])
    assert add_guards(message, []) == 1
    first, _, second, guard = function.node_def
    assert list(first.input) == [f"{guard.name}:output:0", "weights"]
    assert list(second.input) == ["norm:y:0", "weights"]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("a/b/headway_rank_of_Conv2D", "convolution input must be 4-dimensional: [1,2]"),
        ("headway_rank_of__FusedConv2D", "convolution input must be 4-dimensional: [1,2]"),
        ("headway_rank_of_Conv3D", "input must be 5-dimensional"),
    ],
)
def test_a_refusal_is_worded_as_the_kernel_words_it(node: str, text: str) -> None:
    message = (
        f"Shape of tensor a/b:0 [1,2] is not compatible with expected shape [?,?,?,?].\n\t [[{{{{node {node}}}}}]]\n\t "
        "[[PartitionedCall]]"
    )
    assert text_of_refusal(message) == text
    other = message.replace("headway_rank_of_", "own_")
    assert text_of_refusal(other) == other
