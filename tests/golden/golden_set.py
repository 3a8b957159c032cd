"""The golden set: awkward pictures, and for each of three geometries the digest of the array it must become.

Used by the contract's tests directly and by the gateway's tests through HTTP.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class GoldenCase:
    """One picture under one geometry. ``digest``: of the expected ``uint8`` array of ``shape``, by :func:`digest`."""

    path: Path
    spec_name: str
    spec: ImageSpec
    digest: str
    shape: tuple[int, ...]

    @property
    def id(self) -> str:
        """Name of the case in a test report."""
        return f"{self.path.name}-{self.spec_name}"


def digest(array: NDArray[np.uint8]) -> str:
    """SHA-256 of the array's bytes in C order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def image_path(name: str) -> Path:
    """Where the golden picture of that file name is."""
    return _FOLDER / "images" / name


def _load() -> tuple[GoldenCase, ...]:
    expected = json.loads((_FOLDER / "expected.json").read_bytes())
    specs = {name: ImageSpec.from_mapping(mapping) for name, mapping in expected["specs"].items()}
    return tuple(
        GoldenCase(image_path(image), name, specs[name], found["sha256"], tuple(found["shape"]))
        for image, of_spec in sorted(expected["images"].items())
        for name, found in sorted(of_spec.items())
    )


CASES = _load()
"""Every picture under every geometry."""
