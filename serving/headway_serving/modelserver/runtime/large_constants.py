"""Keeps large constants out of the graph that the runtime optimizes: there each exists up to seventeen times.

A constant becomes a variable that is assigned once, before anything is run; what reads it gets the same values.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from headway_serving.modelserver.apis import tensor_codec
from headway_serving.modelserver.apis.tensor_codec import TensorFormatError
from headway_serving.modelserver.runtime.frozen_graph import MOST_CONSTANT_BYTES

_LEAST_BYTES = 1 << 20
"""Smaller constants stay: they cost little, and the runtime looks at many of them (shapes, axes, paddings)."""

Assignments = dict[str, tuple[str, NDArray[Any]]]
"""By the operation that assigns a variable: the placeholder that it takes, and the value to feed it."""


def take_out(graph_def: Any) -> Assignments:
    """Replace large constants of the GraphDef and of its functions by variables.

    A graph whose constants take no more than ``MOST_CONSTANT_BYTES`` together stays as it is.
    """
    bodies = [("", graph_def.node), *((each.signature.name, each.node_def) for each in graph_def.library.function)]
    large = [(function, nodes, node) for function, nodes in bodies for node in nodes if _bytes(node) >= _LEAST_BYTES]
    if sum(_bytes(node) for *_, node in large) <= MOST_CONSTANT_BYTES:
        return {}
    assignments: Assignments = {}
    replaced: dict[str, set[str]] = {}
    for number, (function, nodes, node) in enumerate(large):
        try:
            value = tensor_codec.decode(node.attr["value"].tensor)
        except TensorFormatError:
            continue  # of a type that only the runtime knows, or broken, which the runtime says
        # Functions have names of their own for their nodes, and names that no operation may have.
        name = str(number)
        assignments |= _assigned(graph_def, name, node, value)
        _become_read(nodes, node, name, in_function=bool(function))
        replaced.setdefault(function, set()).add(node.name)
    for function_def in graph_def.library.function:
        _follow(function_def, replaced.get(function_def.signature.name, set()))
    return assignments


def _bytes(node: Any) -> int:
    """Of a constant that is stored as it lies in memory; 0 for all else, which is small, or text."""
    return len(node.attr["value"].tensor.tensor_content) if node.op == "Const" else 0


def _assigned(graph_def: Any, name: str, constant: Any, value: NDArray[Any]) -> Assignments:
    """Add what assigns the variable of a constant."""
    kind = constant.attr["dtype"].type
    fed, handle, assign = (f"headway/{part}/{name}" for part in ("value", "assigned", "assign"))
    placeholder = graph_def.node.add(name=fed, op="Placeholder")
    assignment = graph_def.node.add(name=assign, op="AssignVariableOp", input=[handle, fed])
    _handle(graph_def.node, handle, name, constant)
    placeholder.attr["dtype"].type = assignment.attr["dtype"].type = kind
    return {assign: (fed, value)}


def _handle(nodes: Any, node_name: str, name: str, constant: Any) -> Any:
    """Add an operation that finds the variable."""
    handle = nodes.add(name=node_name, op="VarHandleOp")
    handle.attr["dtype"].type = constant.attr["dtype"].type
    handle.attr["shape"].shape.CopyFrom(constant.attr["value"].tensor.tensor_shape)
    handle.attr["shared_name"].s = f"headway/constant/{name}".encode()
    return handle


def _become_read(nodes: Any, constant: Any, name: str, *, in_function: bool) -> None:
    """Let what was the constant read the variable. Whoever reads before it is assigned gets an error."""
    kind = constant.attr["dtype"].type
    handle = _handle(nodes, f"headway_constant_{constant.name}", name, constant)
    control = [each for each in constant.input if each.startswith("^")]
    constant.op = "ReadVariableOp"
    del constant.input[:]
    constant.input.extend([f"{handle.name}:resource:0" if in_function else handle.name, *control])
    constant.attr.clear()
    constant.attr["dtype"].type = kind


def _follow(function: Any, names: set[str]) -> None:
    """In functions an output is named by its argument, which is another for a read than for a constant."""
    renamed = {f"{name}:output:0": f"{name}:value:0" for name in names}
    for node in function.node_def:
        for place, each in enumerate(node.input):
            if each in renamed:
                node.input[place] = renamed[each]
    for name, each in function.ret.items():
        if each in renamed:
            function.ret[name] = renamed[each]
