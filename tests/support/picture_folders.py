"""Small folders of real picture files, written for a test."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(seed: int, height: int = 9, width: int = 12) -> NDArray[np.uint8]:
    """A colour picture of noise: another seed, another picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_picture(path: Path, seed: int) -> Path:
    """Write the picture of ``seed`` in the format of the path's suffix; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)
    return path


def write_classes(folder: Path, counts: Mapping[str, int], first_seed: int = 0) -> Path:
    """Write ``counts[class]`` different pictures to ``folder/class/0.png`` and so on."""
    seed = first_seed
    for name, count in counts.items():
        for number in range(count):
            write_picture(folder / name / f"{number}.png", seed)
            seed += 1
    return folder
