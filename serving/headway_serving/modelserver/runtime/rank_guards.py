"""Lets a graph refuse a tensor of the wrong rank where its kernel would end the whole process.

oneDNN's convolutions read the third size of their input before anybody has counted its sizes (``tensor_format.h``), and
a check that fails there ends the process with all its models. Which tensor a request must not bend cannot be read
from a signature, whose ranks are promises: so every such operation whose input can have another rank gets an
``EnsureShape`` before it, in the graph and in its functions alike. Where the graph itself fixes the rank, as behind
another convolution, there is none, so a network has one or a few.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Shape = tuple[int, ...]
_VECTOR, _PICTURES, _VOLUMES = (-1,), (-1,) * 4, (-1,) * 5

_SHAPES: Mapping[str, Mapping[int, Shape]] = {
    "Conv2D": {0: _PICTURES},
    "_FusedConv2D": {0: _PICTURES},
    "DepthwiseConv2dNative": {0: _PICTURES},
    "_FusedDepthwiseConv2dNative": {0: _PICTURES},
    "Conv3D": {0: _VOLUMES},
    "_FusedConv3D": {0: _VOLUMES},
    "MaxPool3D": {0: _VOLUMES},
    "AvgPool3D": {0: _VOLUMES},
    # What gradients are made of, as saliency maps are: sizes first, or pictures first and theirs last.
    "Conv2DBackpropInput": {0: _VECTOR},
    "Conv3DBackpropInputV2": {0: _VECTOR},
    "DepthwiseConv2dNativeBackpropInput": {0: _VECTOR},
    "Conv2DBackpropFilter": {0: _PICTURES, 2: _PICTURES},
    "DepthwiseConv2dNativeBackpropFilter": {0: _PICTURES, 2: _PICTURES},
    "Conv3DBackpropFilterV2": {0: _VOLUMES, 2: _VOLUMES},
    "AvgPoolGrad": {0: (4,), 1: _PICTURES},
    "AvgPool3DGrad": {0: (5,), 1: _VOLUMES},
}
"""The operations that are guarded, and by place of an input its shape; found by giving each kernel ranks 0 to 9."""

_NO_SCALAR: Mapping[str, tuple[int, ...]] = {
    "FakeQuantWithMinMaxVarsPerChannel": (0,),
    "FakeQuantWithMinMaxVarsPerChannelGradient": (0, 1),
}
"""Operations that take any rank but 0 at these places."""

_OTHER_TEXT = "{operation}: an input of shape {shape} does not fit"
_TEXTS = {
    "Conv2D": "convolution input must be 4-dimensional: {shape}",
    "DepthwiseConv2dNative": "input must be 4-dimensional{shape}",
    "Conv3D": "input must be 5-dimensional",
    "MaxPool3D": "tensor_in must be 5-dimensional",
    "AvgPool3D": "tensor_in must be 5-dimensional",
}
"""What the runtime says of a wrong rank where oneDNN is off."""

_GIVEN = {
    **dict.fromkeys(("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "_FusedDepthwiseConv2dNative"), 4),
    **dict.fromkeys(("Conv3D", "_FusedConv3D", "MaxPool3D", "AvgPool3D"), 5),
    "Shape": 1,
    "AvgPoolGrad": 4,
    "AvgPool3DGrad": 5,
    "Conv2DBackpropInput": 4,
    "Conv3DBackpropInputV2": 5,
    "MaxPool": 4,
    "AvgPool": 4,
    "ResizeBilinear": 4,
    "ResizeNearestNeighbor": 4,
}
"""Operations whose output has this rank whenever they succeed."""

_SAME = frozenset(
    {
        *("Identity", "Cast", "StopGradient", "EnsureShape", "BiasAdd", "Pad", "PadV2", "MirrorPad"),
        *("Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus"),
        *("Neg", "Square", "Sqrt", "Rsqrt", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
    }
)
"""Operations whose first output has the rank of their first input."""

_WIDER = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum"})
"""Operations that broadcast two inputs: the larger rank is that of the output."""

_FIRST_OF_SEVERAL = ("", "0", "y:0")
"""What the first output of a normalization is called in a graph and in a function."""

_FLOAT, _INT32 = 1, 3
_NAME = "headway_rank_of_"
_REFUSED = re.compile(rf"Shape of tensor \S+ (\[[\d,]*\]) is not compatible with expected shape.*{_NAME}(\w+?)\b", re.S)
_MOST_STEPS = 200
"""How far back a rank is followed; beyond it counts as unknown, which costs a guard."""


def add_guards(graph_def: Any, fed: Collection[str]) -> int:
    """Guard the GraphDef and its functions, and return how many guards it takes.

    ``fed`` are the names of the operations whose outputs requests replace: those may have any rank.
    """
    guards = _Body(graph_def.node, fed).guard(in_function=False)
    for function in graph_def.library.function:
        guards += _Body(function.node_def, ()).guard(in_function=True)
    return guards


def text_of_refusal(message: str) -> str:
    """Return the runtime's ``message`` in the words of the guarded kernel if a guard has written it, else as it is."""
    found = _REFUSED.search(message)
    if found is None:
        return message
    operation = found[2].removeprefix("_Fused")
    return _TEXTS.get(operation, _OTHER_TEXT).format(operation=operation, shape=found[1])


class _Body:
    """The nodes of a graph or of a function, and what is known of the ranks of their outputs."""

    def __init__(self, nodes: Any, fed: Collection[str]) -> None:
        self._nodes = nodes
        self._by_name: Mapping[str, Any] = {node.name: node for node in nodes}
        self._fed = frozenset(fed)
        self._known: dict[str, int | None] = {}

    def guard(self, *, in_function: bool) -> int:
        """Put a guard before each operation that needs one; returns their number."""
        guards: dict[tuple[str, Shape], str] = {}
        guarded = [node for node in self._nodes if node.op in _SHAPES]
        wanted = [(node, *each) for node in guarded for each in _SHAPES[node.op].items()]
        for node, place, shape in wanted:
            tensor = node.input[place]
            if set(shape) == {-1} and self._rank(tensor, _MOST_STEPS) == len(shape):
                continue
            if (tensor, shape) not in guards:
                # The name tells the refusal which kernel was meant.
                name = f"{node.name}/{place}/{_NAME}{node.op}"
                self._add(name, node, tensor, shape)
                guards[tensor, shape] = f"{name}:output:0" if in_function else name
            node.input[place] = guards[tensor, shape]
        for quantized in [each for each in self._nodes if each.op in _NO_SCALAR]:
            for place in _NO_SCALAR[quantized.op]:
                output = ":output:0" if in_function else ""
                quantized.input[place] = self._add_against_scalars(quantized, place, output)
        return len(guards)

    def _add_against_scalars(self, node: Any, place: int, output: str) -> str:
        """No operation demands a least rank; but only what has a dimension has room for another before its last."""
        name = f"{node.name}/{place}/headway_no_scalar"
        axis = self._nodes.add(name=f"{name}/axis", op="Const", device=node.device)
        axis.attr["dtype"].type = axis.attr["value"].tensor.dtype = _INT32
        axis.attr["value"].tensor.tensor_shape.SetInParent()
        axis.attr["value"].tensor.int_val.append(-2)
        inputs = [node.input[place], f"{name}/axis{output}"]
        wider = self._nodes.add(name=f"{name}/wider", op="ExpandDims", input=inputs, device=node.device)
        wider.attr["T"].type, wider.attr["Tdim"].type = _FLOAT, _INT32
        same = self._nodes.add(name=name, op="Squeeze", input=[f"{name}/wider{output}"], device=node.device)
        same.attr["T"].type = _FLOAT
        same.attr["squeeze_dims"].list.i.append(-2)
        return f"{name}{output}"

    def _add(self, name: str, node: Any, tensor: str, shape: Shape) -> None:
        guard = self._nodes.add(name=name, op="EnsureShape", input=[tensor], device=node.device)
        if len(shape) == 1:
            guard.attr["T"].type = node.attr["Tshape"].type if "Tshape" in node.attr else _INT32
        else:
            guard.attr["T"].CopyFrom(node.attr["T"])
        for size in shape:
            guard.attr["shape"].shape.dim.add(size=size)

    def _rank(self, tensor: str, steps: int) -> int | None:
        """Return the rank that ``tensor`` always has, None if it can have several or is not known."""
        name, _, output = tensor.partition(":")
        node = self._by_name.get(name)
        if node is None or steps <= 0 or name in self._fed:
            return None
        if node.op.startswith("FusedBatchNorm") and output not in _FIRST_OF_SEVERAL:
            return None
        if name not in self._known:
            self._known[name] = self._found(node, steps)
        return self._known[name]

    def _found(self, node: Any, steps: int) -> int | None:
        if node.op in _GIVEN:
            return _GIVEN[node.op]
        if node.op == "Const":
            return len(node.attr["value"].tensor.tensor_shape.dim)
        if node.op in _SAME:
            return self._rank(node.input[0], steps - 1)
        if node.op in _WIDER:
            return _largest(self._rank(tensor, steps - 1) for tensor in node.input[:2])
        return None


def _largest(ranks: Iterable[int | None]) -> int | None:
    largest = 0
    for rank in ranks:
        if rank is None:
            return None
        largest = max(largest, rank)
    return largest
