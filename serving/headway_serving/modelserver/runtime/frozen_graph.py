"""Turns a graph's variables into constants, so that what is derived from weights is computed once instead of per run.

In mixed precision that is their conversion to bfloat16. The rewrite keeps every function and every call as it is:
a variable's handle becomes the value itself, functions take values where they took handles, and reading one gives
the value on. TensorFlow's optimizer then inlines the calls and folds the constants. TensorFlow's own converter would
import another third of TensorFlow and works on one list of outputs, not on signatures that share their weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.apis import tensor_codec
from headway_serving.modelserver.process.memory import memory_of_process

MOST_CONSTANT_BYTES = 128 << 20
"""Of a graph, together; what is more stays, or becomes, variables: 512 MiB took 9 GB while the runtime optimized a
graph of constants, and 1 GB as variables."""

_TIMES_IN_MEMORY = 40
"""Constants exist up to eighteen times while the runtime optimizes a graph; they may take half of the memory then."""

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_HANDLE, _READ, _CONSTANT = "VarHandleOp", "ReadVariableOp", "Const"
_FROM_OUTSIDE = ("Placeholder", "PlaceholderWithDefault", _CONSTANT)
_STALE_ARGUMENT_ATTRIBUTES = ("_handle_dtypes", "_handle_shapes", "_output_shapes")


class CannotFreeze(Exception):
    """The graph needs its variables; the text says what for."""


def add_reads(graph_def: Any) -> dict[str, str]:
    """Add an operation that reads it for each variable of the GraphDef; returns the variables' names -> the reads'."""
    reads = {}
    for handle in [node for node in graph_def.node if node.op == _HANDLE]:
        read = graph_def.node.add(name=f"headway/read/{handle.name}", op=_READ, input=[handle.name])
        read.attr["dtype"].CopyFrom(handle.attr["dtype"])
        reads[handle.name] = read.name
    return reads


def keep_only(graph_def: Any, requested: Collection[str], initialize: str, restore: str) -> list[str]:
    """Drop from the GraphDef what requests and the initialization do not need; returns the variables of requests.

    ``requested`` are the operations that requests feed and fetch, ``initialize`` and ``restore`` the one that
    initializes and the one that restores the checkpoint, or "". A variable that the initialization alone uses, such as
    the path of an asset, stays one. Raises CannotFreeze if the checkpoint fills something else than variables, such as
    a table.
    """
    nodes = {node.name: node for node in graph_def.node}
    served = _reached(nodes, requested)
    needed = served | _reached(nodes, [initialize])
    for name in sorted(needed & _reached(nodes, [restore])):
        if nodes[name].op not in (_HANDLE, *_FROM_OUTSIDE):
            raise CannotFreeze(f"the checkpoint restores the {nodes[name].op} {name}")
    functions = {function.signature.name: function for function in graph_def.library.function}
    called = _called(functions, (nodes[name] for name in needed))
    _remove(graph_def.node, lambda node: node.name not in needed)
    _remove(graph_def.library.function, lambda function: function.signature.name not in called)
    for function in graph_def.library.function:
        if any(node.op == _HANDLE for node in function.node_def):
            raise CannotFreeze(f"function {function.signature.name} finds a variable by its name")
    graph_def.library.ClearField("gradient")
    graph_def.library.ClearField("registered_gradients")
    return [node.name for node in graph_def.node if node.op == _HANDLE and node.name in served]


def freeze(graph_def: Any, values: Mapping[str, Any]) -> None:
    """Make variables of the GraphDef constants; ``values`` maps their names to what the session read.

    Raises CannotFreeze, and leaves a graph that is of no use, if a variable is used otherwise than by reading it, or
    holds what cannot be a constant.
    """
    arrays = {name: _array(value) for name, value in values.items()}
    most = min(MOST_CONSTANT_BYTES, memory_of_process() // _TIMES_IN_MEMORY)
    if graph_def.ByteSize() + sum(array.nbytes for array in arrays.values()) > most:
        raise CannotFreeze(f"graph and weights take more than {most >> 20} MiB")
    types = {}
    for node in graph_def.node:
        if node.name in arrays:
            types[node.name] = node.attr["dtype"].type
            _become_constant(node, arrays[node.name])
    _Rewrite(graph_def).graph(types)


class _Rewrite:
    """Follows the frozen values from where they stand through the calls into the functions' bodies."""

    def __init__(self, graph_def: Any) -> None:
        self._graph = graph_def
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._taken: dict[str, dict[int, int]] = {}

    def graph(self, types: Mapping[str, int]) -> None:
        """Give the users of the tensors ``types`` (name -> DataType number) values instead of handles."""
        self._users(self._graph.node, types)

    def _users(self, nodes: Iterable[Any], types: Mapping[str, int]) -> set[str]:
        """Rewrite the users among ``nodes``; returns the names of those that read."""
        reads = set()
        for node in nodes:
            given = {place: types[name] for place, name in enumerate(map(_tensor, node.input)) if name in types}
            if not given:
                continue
            if node.op == _READ:
                _become_identity(node)
                reads.add(node.name)
            elif node.op in _CALLS:
                self._call(node, given)
            else:
                raise CannotFreeze(f"{node.op} {node.name} does not just read its variable")
        return reads

    def _call(self, node: Any, given: dict[int, int]) -> None:
        name = node.attr["f"].func.name
        for place, number in given.items():
            node.attr["Tin"].list.type[place] = number
        node.attr.pop("_read_only_resource_inputs", None)
        if name not in self._taken:
            self._taken[name] = given
            self._function(self._functions[name], given)
        elif self._taken[name] != given:
            raise CannotFreeze(f"function {name} is called with variables in other places")

    def _function(self, function: Any, given: dict[int, int]) -> None:
        types = {}
        function.attr.pop("_input_shapes", None)
        for place, number in given.items():
            argument = function.signature.input_arg[place]
            types[argument.name] = argument.type = number
            for key in _STALE_ARGUMENT_ATTRIBUTES:
                function.arg_attr[place].attr.pop(key, None)
        if types.keys() & {_tensor(name) for name in function.ret.values()}:
            raise CannotFreeze(f"function {function.signature.name} returns a variable's handle")
        reads = self._users(function.node_def, types)
        for node in function.node_def:
            for place, name in enumerate(node.input):
                node.input[place] = _after_reading(name, reads)
        for key, name in list(function.ret.items()):
            function.ret[key] = _after_reading(name, reads)


def _reached(nodes: Mapping[str, Any], wanted: Iterable[str]) -> set[str]:
    """Return the names of the nodes that ``wanted`` need, themselves among them."""
    reached: set[str] = set()
    open_ = [name for name in wanted if name in nodes]
    while open_:
        name = open_.pop()
        if name not in reached:
            reached.add(name)
            open_ += [_operation(each) for each in nodes[name].input]
    return reached


def _called(functions: Mapping[str, Any], nodes: Iterable[Any]) -> set[str]:
    """Return the names of the functions that ``nodes`` call, directly or through others."""
    called: set[str] = set()
    open_ = list(nodes)
    while open_:
        node = open_.pop()
        names = {node.op}
        for value in node.attr.values():
            names |= {value.func.name, *(each.name for each in value.list.func)}
        for name in (names & functions.keys()) - called:
            called.add(name)
            open_ += functions[name].node_def
    return called


def _remove(messages: Any, unwanted: Any) -> None:
    for place in reversed([place for place, message in enumerate(messages) if unwanted(message)]):
        del messages[place]


def _array(value: Any) -> NDArray[Any]:
    """Return what was read as an array: the session gives a scalar string as plain bytes."""
    return np.array(value, np.object_) if isinstance(value, bytes) else np.asarray(value)


def _become_constant(node: Any, value: NDArray[Any]) -> None:
    dtype = node.attr["dtype"].type
    node.op = _CONSTANT
    node.attr.clear()
    node.attr["dtype"].type = dtype
    try:
        tensor_codec.encode(value, node.attr["value"].tensor, as_content=True)
    except tensor_codec.TensorFormatError as error:
        raise CannotFreeze(f"variable {node.name}: {error}") from error


def _become_identity(node: Any) -> None:
    dtype = node.attr["dtype"].type
    del node.attr["dtype"]
    node.op = "Identity"
    node.attr["T"].type = dtype


def _after_reading(name: str, reads: Collection[str]) -> str:
    """Return what a tensor in a function is called now: reading calls its output ``value``, and Identity ``output``."""
    node, colon, output = name.partition(":")
    return f"{node}:output:0" if colon and output == "value:0" and node in reads else name


def _operation(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _tensor(name: str) -> str:
    """Return the name of an operation's first output without ``:0``; others, and control inputs, stay as they are."""
    return name.removesuffix(":0") if name.count(":") == 1 else name
