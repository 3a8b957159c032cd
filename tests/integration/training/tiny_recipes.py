"""A base and a head that train in seconds, and the real command that trains them."""

import os
import subprocess
import sys
from pathlib import Path

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


def write_recipes(folder: Path) -> tuple[str, str]:
    """Write both recipes into ``folder``; return their paths, base first."""
    base, head = folder / "tiny-base.toml", folder / "tiny-head.toml"
    base.write_text(BASE, encoding="utf-8")
    head.write_text(HEAD, encoding="utf-8")
    return str(base), str(head)


def train_command(*arguments: str) -> list[str]:
    """The command line of ``headway train`` in this interpreter's environment."""
    return [str(Path(sys.executable).with_name("headway")), "train", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """The process's environment with a feature cache of its own."""
    return os.environ | {"HEADWAY_CACHE_DIR": str(cache)}


def headway_train(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``headway train`` to its end."""
    return subprocess.run(
        train_command(*arguments), env=environment(cache), capture_output=True, text=True, check=False, timeout=200
    )
