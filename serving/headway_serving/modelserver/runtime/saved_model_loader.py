"""Reads a SavedModel and restores it into a session, step by step as TensorFlow's C++ loader does.

TensorFlow's Python loader would import another third of TensorFlow, make a Python object of every node, and refuse
what TensorFlow Serving loads: a SavedModel without its variables becomes AVAILABLE there, and fails when it is run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from headway_contract.model_repository import MANIFEST_FILE
from headway_contract.plain_paths import plain_path
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.process import text_config
from headway_serving.modelserver.process.memory import memory_of_process
from headway_serving.modelserver.runtime import frozen_graph, large_constants, rank_guards
from headway_serving.modelserver.runtime.row_bounds import RowBounds
from headway_serving.modelserver.runtime.saved_model import GraphSession, SavedModel, SessionConfig

logger = logging.getLogger(__name__)

_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_RESTORING = "_traced_restore"
_RESTORES = frozenset({"Assign", "AssignVariableOp"})
"""How a checkpoint is restored: the function of that name, and these operations of the graph itself."""

_ASSETS_COLLECTION = "saved_model_assets"


def load_saved_model(directory: Path, tags: frozenset[str], config: SessionConfig) -> SavedModel:
    """Load the graph tagged ``tags`` of the SavedModel in ``directory``, restore its variables and initialize it.

    Raises StatusError: NOT_FOUND without a SavedModel or such a graph, DATA_LOSS if the file is damaged, else the
    runtime's own code and text.
    """
    graph = _Graph(_tagged(_read(directory), tags), directory, config)
    session = graph.freeze() if config.bfloat16 else graph.start(graph.served | graph.initializing)
    # What Headway exports answers row by row; of what others export nobody knows.
    row_wise = (directory / MANIFEST_FILE).is_file()
    bounds = None if graph.counts_runs else RowBounds(session, memory_of_process(), row_wise=row_wise)
    return SavedModel(session, _copy_signatures(graph.message), bounds)


class _Graph:
    """A MetaGraphDef message and what it takes to make a session of it.

    ``served`` names the operations that requests feed and fetch, ``initializing`` those that make the graph ready.
    ``counts_runs``: a run may change variables, so that none may be added.
    """

    def __init__(self, message: Any, directory: Path, config: SessionConfig) -> None:
        self.message = message
        self._directory = directory
        self._config = config
        self._init = _init_operation(message, directory)
        self.served = {name.partition(":")[0] for name in _tensor_names(message)}
        self._assignments = large_constants.take_out(message.graph_def)
        if self._assignments:
            # A message keeps the memory of what was taken out of it for as long as it is there.
            self.message = message = type(message).FromString(message.SerializeToString())
        rank_guards.add_guards(message.graph_def, self.served)
        self.counts_runs = _changes_variables(message.graph_def)
        saver = message.saver_def
        self.initializing = {self._init, saver.filename_tensor_name.partition(":")[0], saver.restore_op_name}

    def start(self, operations: Collection[str], *, restore: bool = True) -> GraphSession:
        """Return a session in which ``operations`` can be run, restored unless told otherwise, and initialized."""
        assigning = {*self._assignments, *(fed for fed, _ in self._assignments.values())}
        session = GraphSession(self.message.graph_def, {*operations, *assigning}, self._config)
        try:
            while self._assignments:
                assign, (fed, value) = self._assignments.popitem()
                session.run({f"{fed}:0": value}, targets=[assign])
                del value
            # The operation that restores takes brackets in a path for a pattern, and finds no file.
            with plain_path(self._directory) as directory:
                self._make_ready(session, directory, restore=restore)
        except BaseException:
            session.close()
            raise
        return session

    def _make_ready(self, session: GraphSession, directory: Path, *, restore: bool) -> None:
        assets = {
            asset.tensor_info.name: _scalar(directory / "assets" / asset.filename) for asset in _assets(self.message)
        }
        variables = directory / "variables" / "variables"
        saver = self.message.saver_def
        if restore and self.message.HasField("saver_def") and variables.with_suffix(".index").exists():
            session.run({saver.filename_tensor_name: _scalar(variables), **assets}, targets=[saver.restore_op_name])
        if self._init:
            session.run(assets, targets=[self._init])

    def freeze(self) -> GraphSession:
        """Return a session whose variables are constants, or one as ``start`` makes it where that cannot be.

        Changes the message's graph, so it can be called once.
        """
        graph_def = self.message.graph_def
        reads = frozen_graph.add_reads(graph_def)
        session = self.start(self.served | self.initializing | set(reads.values()))
        try:
            restore = self.message.saver_def.restore_op_name
            names = frozen_graph.keep_only(graph_def, self.served - {self._init}, self._init, restore)
            if not names:
                return session
            values = session.run({}, [f"{reads[name]}:0" for name in names])
            frozen_graph.freeze(graph_def, dict(zip(names, values, strict=True)))
            frozen = self.start(self.served | self.initializing, restore=False)
        except (frozen_graph.CannotFreeze, StatusError) as reason:
            logger.warning(
                "%s keeps its variables, and converts them to bfloat16 in every run: %s", self._directory, reason
            )
            return session
        except BaseException:
            session.close()
            raise
        session.close()
        return frozen


def _changes_variables(graph_def: Any) -> bool:
    """Return whether the GraphDef has operations that change variables otherwise than by restoring them."""
    functions = [each for each in graph_def.library.function if _RESTORING not in each.signature.name]
    inside = {node.op for function in functions for node in function.node_def}
    outside = {node.op for node in graph_def.node} - _RESTORES
    return any("Assign" in name or "Scatter" in name for name in inside | outside)


def _read(directory: Path) -> Any:
    """Return the SavedModel message in ``directory``."""
    message = saved_model_pb2.SavedModel()
    for name, kind, parse in (("saved_model.pb", "binary", _from_binary), ("saved_model.pbtxt", "text", _from_text)):
        path = directory / name
        if path.is_file():
            try:
                parse(path, message)
            except (text_format.ParseError, UnicodeDecodeError) as error:
                text_config.log_error(error, message)
                raise StatusError(Code.DATA_LOSS, f"Can't parse {path} as {kind} proto") from error
            except (OSError, DecodeError) as error:
                raise StatusError(Code.DATA_LOSS, f"Can't parse {path} as {kind} proto") from error
            return message
    raise StatusError(
        Code.NOT_FOUND,
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {directory}. Check that "
        "the directory exists and that you have the right permissions for accessing it.",
    )


def _from_binary(path: Path, message: Any) -> None:
    message.ParseFromString(path.read_bytes())


def _from_text(path: Path, message: Any) -> None:
    text_format.Parse(path.read_text("utf-8"), message)


def _tagged(saved_model: Any, tags: frozenset[str]) -> Any:
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == tags:
            return meta_graph
    raise StatusError(
        Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(sorted(tags))} }}. To inspect "
        "available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _tensor_names(meta_graph: Any) -> Iterator[str]:
    """Yield the names of the tensors that requests and the initialization feed or fetch."""
    for signature in meta_graph.signature_def.values():
        for tensors in (signature.inputs, signature.outputs):
            yield from (tensor.name for tensor in tensors.values())
    yield from (asset.tensor_info.name for asset in _assets(meta_graph))


def _scalar(path: Path) -> NDArray[Any]:
    return np.array(str(path).encode(), np.object_)


def _assets(meta_graph: Any) -> list[Any]:
    """Return the AssetFileDef messages: which file each asset tensor names."""
    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    if _ASSETS_COLLECTION not in meta_graph.collection_def:
        return []
    packed = meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value
    return [meta_graph_pb2.AssetFileDef.FromString(each.value) for each in packed]


def _init_operation(meta_graph: Any, directory: Path) -> str:
    """Return the name of the operation that initializes what is not a variable, such as tables; "" without."""
    signature = meta_graph.signature_def.get(_INIT_SIGNATURE)
    if signature is not None:
        if _INIT_SIGNATURE not in signature.outputs:
            raise StatusError(Code.FAILED_PRECONDITION, f"Could not find output {_INIT_SIGNATURE}")
        return str(signature.outputs[_INIT_SIGNATURE].name).partition(":")[0]
    for key in _INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            nodes = meta_graph.collection_def[key].node_list.value
            if len(nodes) != 1:
                raise StatusError(Code.FAILED_PRECONDITION, f"Expected exactly one main op in : {directory}")
            return str(nodes[0])
    return ""


def _copy_signatures(meta_graph: Any) -> dict[str, Any]:
    """Copy the signatures out of the graph's message, which is as large as the graph, so that it can go."""
    signatures: dict[str, Any] = {}
    for key, signature in meta_graph.signature_def.items():
        signatures[key] = type(signature)()
        signatures[key].CopyFrom(signature)
    return signatures
