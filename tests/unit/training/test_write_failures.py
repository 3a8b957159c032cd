"""Whatever library fails to write a file: one line with the file, the reason and what to do."""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headway_training.checkpoints import Curves, save
from headway_training.errors import WriteFailed
from headway_training.write_failures import writing

MANY = 300_000


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, the operating system refuses in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_records(path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(os.urandom(MANY))


def write_variables(path: Path) -> None:
    module = tf.Module()
    module.weights = tf.Variable(tf.random.normal((MANY // 4,)))
    tf.saved_model.save(module, str(path.parent))


def model() -> keras.Model:
    net = keras.Sequential([keras.Input((MANY // 8,)), keras.layers.Dense(2)])
    net.compile(optimizer="adam", loss="mse")
    return net


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda path: path.write_bytes(bytes(MANY)), "file"),
        (lambda path: np.savez(path, values=np.arange(MANY)), "file"),
        (write_records, "file"),
        (write_variables, "variables/"),
        (lambda path: model().save(path), "file.keras"),
    ],
    ids=["bytes", "arrays", "records", "variables", "keras"],
)
def test_every_library_gives_the_same_line(tmp_path: Path, write: Callable[[Path], object], name: str) -> None:
    path = tmp_path / ("file.keras" if name == "file.keras" else "file")
    with files_of_at_most(50_000), pytest.raises(WriteFailed) as refused, writing("nothing was published", tmp_path):
        write(path)
    assert str(refused.value).startswith(f"nothing was published: {name}")
    assert " cannot be written: File too large; files may not become so large here; raise" in str(refused.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_checkpoint_that_cannot_be_written_is_told_and_the_old_one_stays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"fit{suffix}"
    path.write_bytes(b"old")
    state: dict[str, Any] = {"phase": "head", "recipe": {}, "data_digest": "", "base_digest": "", "best": None}
    with files_of_at_most(50_000), pytest.raises(WriteFailed, match=rf"fit\{suffix} cannot be written: File too large"):
        save(path, model(), curves=Curves(), **state)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_says_how_much_is_free(tmp_path: Path) -> None:
    says = r"file cannot be written: No space left on device; [0-9,]+ bytes are free"
    with pytest.raises(WriteFailed, match=says), writing("nothing was published", tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_no_failure_to_write_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), writing("title", tmp_path):
        raise RuntimeError("shapes differ")
    with pytest.raises(tf.errors.InvalidArgumentError), writing("title", tmp_path):
        raise tf.errors.InvalidArgumentError(None, None, "shapes differ")
