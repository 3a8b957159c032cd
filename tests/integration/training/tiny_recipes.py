"""A base and a head that train in seconds, pictures of one's own, and the real command that trains on them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

BASE = """
name = "tiny-base"
description = "Tiny base on the digits 6 and 7"
kind = "base"
network = "seed-cnn"

[image]
height = 28
width = 28
channels = 1
polarity = "light_on_dark"

[data]
dataset = "digits"
classes = ["6", "7"]
validation = 0.1
test = 0.4

[augmentation]
rotation = 0.03
translation = 0.08

[fitting]
epochs = 1
"""

HEAD = """
name = "tiny-head"
description = "Tiny head for the digits 0 and 1"
kind = "head"
base = "tiny-base"

[data]
dataset = "digits"
classes = ["0", "1"]
validation = 0.1
test = 0.4

[fitting]
epochs = 2
"""

COLOURED = """
name = "coloured-base"
description = "Base on a folder of three colours"
kind = "base"
layers = [
    { type = "conv", filters = 6, kernel = 3, strides = 2 },
    { type = "batch_norm" },
    { type = "conv", filters = 8, kernel = 3, strides = 2 },
    { type = "dropout", rate = 0.1 },
    { type = "global_pool" },
]

[image]
height = 16
width = 16
channels = 3

[data]
dataset = "folder"
folder = "FOLDER"
test = 0.3

[head]
hidden = [8]
dropout = 0.1

[fitting]
epochs = 12
batch_size = 8
learning_rate = 0.01
"""

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


def write_recipes(folder: Path) -> tuple[str, str]:
    """Write both recipes into ``folder``; return their paths, base first."""
    base, head = folder / "tiny-base.toml", folder / "tiny-head.toml"
    base.write_text(BASE, encoding="utf-8")
    head.write_text(HEAD, encoding="utf-8")
    return str(base), str(head)


def write_colours(folder: Path, each: int = 60, side: int = 20) -> Path:
    """Write ``each`` noisy PNGs of every colour to ``folder/<colour>/``."""
    noise = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            # Half of the brightness is of no colour at all, so that a few epochs make mistakes.
            pixels = noise.normal(0, 70, (side, side, 3)) + noise.normal(0, 60, 3) + np.array(colour)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder


def write_coloured_base(folder: Path, pictures: Path) -> str:
    """Write the recipe of a base on such a folder; return its path."""
    path = folder / "coloured-base.toml"
    path.write_text(COLOURED.replace("FOLDER", pictures.as_posix()), encoding="utf-8")
    return str(path)


def train_command(*arguments: str) -> list[str]:
    """The command line of ``headway train`` in this interpreter's environment."""
    return [str(Path(sys.executable).with_name("headway")), "train", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """The process's environment with a feature cache of its own, and output that is seen when it is written."""
    return os.environ | {"HEADWAY_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}


def headway_train(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``headway train`` to its end."""
    return subprocess.run(
        train_command(*arguments), env=environment(cache), capture_output=True, text=True, check=False, timeout=300
    )
