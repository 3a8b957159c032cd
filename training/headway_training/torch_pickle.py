"""Reads PyTorch's legacy weights files without PyTorch, and without running anything that a file asks for.

The legacy layout (``torch.save`` before 1.6, or with ``_use_new_zipfile_serialization=False``) is five pickles and
then raw numbers::

    magic number | protocol version | system info | state dict | storage keys | per key: int64 count, the numbers

The state dict's tensors are calls of ``torch._utils._rebuild_tensor_v2`` on storages that are named by persistent ids.
A pickle can call anything; here an unpickler that knows only those names reads it, after the opcodes were looked at.

Source: ``torch/serialization.py`` of PyTorch, functions ``_legacy_save`` and ``_legacy_load``.
"""

import collections
import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_training.errors import InvalidWeights

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
"""PyTorch's storage classes and the numpy type of their numbers. Strings, because a pickle cannot change a string."""

_OPCODES = frozenset({
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS",
})  # fmt: skip
"""What pickle protocol 2 needs for a state dict; ``torch.save`` writes protocol 2."""


@dataclass(frozen=True)
class _Storage:
    """A persistent id: ``count`` numbers of numpy type ``dtype`` that follow behind the pickles under ``key``."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A strided view of a storage; ``offset`` and ``strides`` count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a legacy PyTorch state dict: tensor names, in the file's order, to C-contiguous arrays.

    The arrays have the tensors' shapes (PyTorch's axis order) and types. Nothing in the file is executed, and no more
    memory is taken than a few times the file's size. Raises :class:`InvalidWeights` for a file that cannot be read, is
    no such state dict, is truncated, or asks for any name that a state dict does not need.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidWeights(f"weights file {path} cannot be read: {error}") from error
    try:
        return _state_dict(content)
    # pickle documents that damaged input raises "other exceptions" too, among them AttributeError and IndexError.
    except Exception as error:
        raise InvalidWeights(f"weights file {path} is not a whole PyTorch state dict: {error}") from error


def _state_dict(content: bytes) -> dict[str, NDArray[Any]]:
    zipped = content.startswith(b"PK")
    _require(not zipped, "it is in the newer zip format; save it with _use_new_zipfile_serialization=False")
    stream = io.BytesIO(content)
    _require(_unpickle(stream) == _MAGIC_NUMBER, "it does not begin with the legacy format's magic number")
    version = _unpickle(stream)
    _require(version == _PROTOCOL_VERSION, f"format version {version!r}; {_PROTOCOL_VERSION} is known")
    system = _unpickle(stream)
    _require(isinstance(system, dict) and system.get("little_endian") is True, "its numbers are not little-endian")
    entries = _unpickle(stream)
    keys = _unpickle(stream)
    _require(isinstance(entries, collections.OrderedDict), "it holds no state dict (save model.state_dict())")
    storages = _storages(entries)
    _require(isinstance(keys, list) and set(keys) == set(storages), "its list of storages is not the tensors'")
    numbers = {}
    for key in keys:
        numbers[key] = _numbers(storages[key], stream.tell(), content)
        stream.seek(8 + numbers[key].nbytes, io.SEEK_CUR)
    return {name: _array(name, tensor, numbers[tensor.storage.key]) for name, tensor in entries.items()}


def _unpickle(stream: io.BytesIO) -> Any:
    """Read the pickle that begins here, after a look at its opcodes; the stream then stands behind it."""
    begin = stream.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        _require(opcode.name in _OPCODES, f"pickle opcode {opcode.name} has no place in a state dict")
        # The memo is an array: a single large index would make the unpickler take gigabytes.
        if "BINPUT" in opcode.name:
            _require(isinstance(argument, int) and argument <= count, f"pickle memo index {argument} is out of order")
    stream.seek(begin)
    return _StateDictUnpickler(stream).load()


class _StateDictUnpickler(pickle.Unpickler):
    """Knows the names that a state dict of tensors consists of, and none besides."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve an admitted global; raises ``UnpicklingError`` naming any other."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no state dict of tensors needs; refused")

    def persistent_load(self, pid: Any) -> _Storage:
        """Read ``("storage", class, key, device, count, view)``; views of storages are from PyTorch before 0.4."""
        kind, dtype, key, _device, count, view = pid
        _require(kind == "storage" and dtype in _STORAGES.values() and view is None, f"unknown persistent id {pid!r}")
        _require(isinstance(key, str) and _is_size(count), f"unknown persistent id {pid!r}")
        return _Storage(key, dtype, count)

    def _rebuild_tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any
    ) -> _Tensor:
        del requires_grad, hooks  # these speak of PyTorch's training, not of the numbers
        _require(isinstance(storage, _Storage) and _is_size(offset), "a tensor without a storage")
        for sizes in (shape, strides):
            _require(isinstance(sizes, tuple) and all(map(_is_size, sizes)), f"a tensor of shape {sizes!r}")
        _require(len(shape) == len(strides), f"a tensor of shape {shape} with strides {strides}")
        return _Tensor(storage, offset, shape, strides)


def _storages(entries: dict[Any, Any]) -> dict[str, _Storage]:
    """The storages that the tensors name, by key; each key must mean the same storage wherever it is named."""
    storages: dict[str, _Storage] = {}
    for name, tensor in entries.items():
        _require(isinstance(name, str) and isinstance(tensor, _Tensor), f"entry {name!r} is no tensor")
        known = storages.setdefault(tensor.storage.key, tensor.storage)
        _require(known == tensor.storage, f"storage {known.key} is described in two ways")
    return storages


def _numbers(storage: _Storage, begin: int, content: bytes) -> NDArray[Any]:
    """The numbers of a storage whose count stands at byte ``begin``."""
    dtype = np.dtype(storage.dtype)
    count = int.from_bytes(content[begin : begin + 8], "little")
    _require(count == storage.count, f"storage {storage.key} has {count} numbers, its tensors say {storage.count}")
    end = begin + 8 + count * dtype.itemsize
    _require(end <= len(content), f"truncated: storage {storage.key} ends at byte {end:,} of {len(content):,}")
    return np.frombuffer(content, dtype, count, begin + 8)


def _array(name: str, tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    """A copy of a tensor's numbers, once it is known that all of them lie inside its storage."""
    size = math.prod(tensor.shape)
    if size == 0:
        return np.empty(tensor.shape, numbers.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    # A stride of 0 repeats numbers: without the second condition a small file could fill the memory.
    _require(
        last < numbers.size and size <= numbers.size,
        f"tensor {name} of shape {tensor.shape} does not fit its storage of {numbers.size} numbers",
    )
    strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy(order="C")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
