"""Legacy PyTorch files: what is in them is read, and nothing that they ask for is done."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway_training.errors import InvalidWeights
from headway_training.torch_pickle import read_state_dict

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
VERSION = pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2)
PREAMBLE = MAGIC + VERSION + SYSTEM


def literal(value: Any) -> bytes:
    """The opcodes that put a plain value on the unpickler's stack."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    key: str, count: Any, shape: Any, strides: Any, *, offset: Any = 0, kind: str = "FloatStorage", view: Any = None
) -> bytes:
    """The opcodes of one tensor, as ``torch.save`` writes them."""
    storage = b"(" + literal("storage") + b"ctorch\n" + kind.encode() + b"\n" + literal(key) + literal("cpu")
    persistent = storage + literal(count) + literal(view) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = b"(" + persistent + literal(offset) + literal(shape) + literal(strides) + literal(False) + hooks + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state_dict(**entries: bytes) -> bytes:
    items = b"".join(literal(name) + value for name, value in entries.items())
    # The last opcodes set the attribute _metadata, as Module.state_dict() does.
    metadata = b"}" + literal("_metadata") + b"ccollections\nOrderedDict\n)Rsb"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u" + metadata + b"."


def storages(**arrays: Any) -> bytes:
    numbers = b"".join(array.size.to_bytes(8, "little") + array.tobytes() for array in arrays.values())
    return pickle.dumps(list(arrays), 2) + numbers


def reading(folder: Path, content: bytes) -> dict[str, Any]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_state_dict(path)


SIX = np.arange(6, dtype=np.float32) / 4
SMALL = PREAMBLE + state_dict(w=tensor("7", 6, (2, 3), (3, 1))) + storages(**{"7": SIX})


def test_tensors_come_in_the_files_order_with_their_shapes_and_types(tmp_path: Path) -> None:
    halves = np.array([0.5, -2], dtype=np.float16)
    count = np.array([12345678901], dtype=np.int64)
    content = (
        PREAMBLE
        + state_dict(
            weight=tensor("a", 6, (2, 3), (3, 1)),
            transposed=tensor("a", 6, (3, 2), (1, 3)),
            row=tensor("a", 6, (3,), (1,), offset=3),
            halves=tensor("b", 2, (1, 2), (2, 1), kind="HalfStorage"),
            count=tensor("c", 1, (), (), kind="LongStorage"),
            none=tensor("c", 1, (0, 4), (4, 1), kind="LongStorage"),
        )
        + storages(c=count, a=SIX, b=halves)
    )
    tensors = reading(tmp_path, content)
    assert list(tensors) == ["weight", "transposed", "row", "halves", "count", "none"]
    np.testing.assert_array_equal(tensors["weight"], [[0, 0.25, 0.5], [0.75, 1, 1.25]])
    np.testing.assert_array_equal(tensors["transposed"], tensors["weight"].T)
    np.testing.assert_array_equal(tensors["row"], [0.75, 1, 1.25])
    np.testing.assert_array_equal(tensors["halves"], [[0.5, -2]])
    assert tensors["count"] == 12345678901
    assert tensors["none"].shape == (0, 4)
    assert [array.dtype.name for array in tensors.values()] == ["float32"] * 3 + ["float16", "int64", "int64"]
    assert all(array.flags.c_contiguous and array.flags.writeable for array in tensors.values())


class _Shell:
    """What an attacker's class looks like to pickle: it is rebuilt by calling os.system."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("part", ["magic", "version", "system", "state dict", "entry", "keys"])
def test_a_file_that_calls_a_shell_is_refused_and_nothing_runs(tmp_path: Path, part: str, protocol: int) -> None:
    marker = tmp_path / "ran"
    attack = pickle.dumps(_Shell(marker), protocol)
    good = state_dict(w=tensor("7", 6, (2, 3), (3, 1)))
    content = {
        "magic": attack,
        "version": MAGIC + attack,
        "system": MAGIC + VERSION + attack,
        "state dict": PREAMBLE + attack,
        "entry": PREAMBLE + state_dict(w=attack[2:-1] if protocol >= 2 else attack[:-1]),
        "keys": PREAMBLE + good + attack,
    }[part]
    pickle.loads(attack)
    assert marker.exists(), "the attack is not one"
    marker.unlink()
    with pytest.raises(InvalidWeights, match=r"no state dict of tensors needs|has no place in a state dict"):
        reading(tmp_path, content)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [b"builtins\neval", b"torch\nload", b"torch._utils\n_rebuild_parameter", b"torch\nFloatStorage.x", b"os\nsystem"],
)
def test_only_the_names_of_a_state_dict_are_known(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(InvalidWeights, match=name.replace(b"\n", b".").decode()):
        reading(tmp_path, PREAMBLE + b"\x80\x02c" + name + b"\n.")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    assert reading(tmp_path, SMALL)["w"].shape == (2, 3)
    for end in range(len(SMALL)):
        with pytest.raises(InvalidWeights, match=r"weights\.pth is not a whole PyTorch state dict"):
            reading(tmp_path, SMALL[:end])


def test_what_is_no_legacy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="zip format"):
        reading(tmp_path, b"PK\x03\x04" + bytes(100))
    with pytest.raises(InvalidWeights, match="magic number"):
        reading(tmp_path, pickle.dumps(5, 2) + SMALL)
    with pytest.raises(InvalidWeights, match="little-endian"):
        reading(tmp_path, MAGIC + VERSION + pickle.dumps({"little_endian": False}, 2) + SMALL)
    generator = np.random.default_rng(0)
    for length in (0, 1, 100, 10_000):
        with pytest.raises(InvalidWeights):
            reading(tmp_path, generator.bytes(length))
    with pytest.raises(InvalidWeights, match=r"missing\.pth cannot be read"):
        read_state_dict(tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (tensor("7", 6, (2, 4), (4, 1)), "does not fit its storage of 6 numbers"),
        (tensor("7", 6, (2, 3), (3, 1), offset=1), "does not fit its storage"),
        (tensor("7", 6, (2, 3), (3, 2)), "does not fit its storage"),
        (tensor("7", 6, (10**9, 6), (0, 1)), "does not fit its storage"),
        (tensor("7", 6, (2, 3), (3, -1)), "tensor of shape"),
        (tensor("7", 6, (2, 3), (3,)), "with strides"),
        (tensor("7", 6, 6, 1), "tensor of shape"),
        (tensor("7", 6, (2, 3), (3, 1), offset=-1), "without a storage"),
        (tensor("7", 10**15, (2, 3), (3, 1)), "has 6 numbers"),
        (tensor("7", 6, (2, 3), (3, 1), kind="DoubleStorage"), "truncated: storage 7"),
        (tensor("7", 6, (2, 3), (3, 1), view=("8", 0, 6)), "unknown persistent id"),
        (tensor("8", 6, (2, 3), (3, 1)), "list of storages"),
        (literal(5), "entry 'w' is no tensor"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(tmp_path: Path, entry: bytes, problem: str) -> None:
    with pytest.raises(InvalidWeights, match=problem):
        reading(tmp_path, PREAMBLE + state_dict(w=entry) + storages(**{"7": SIX}))


def test_one_storage_cannot_be_two_things(tmp_path: Path) -> None:
    two = state_dict(a=tensor("7", 6, (6,), (1,)), b=tensor("7", 3, (3,), (1,), kind="DoubleStorage"))
    with pytest.raises(InvalidWeights, match="storage 7 is described in two ways"):
        reading(tmp_path, PREAMBLE + two + storages(**{"7": SIX}))


def test_a_memo_index_that_would_take_gigabytes_is_refused(tmp_path: Path) -> None:
    # LONG_BINPUT: the unpickler's memo is an array, which would grow to this index.
    with pytest.raises(InvalidWeights, match="memo index 2147483647"):
        reading(tmp_path, PREAMBLE + b"\x80\x02Nr\xff\xff\xff\x7f.")
