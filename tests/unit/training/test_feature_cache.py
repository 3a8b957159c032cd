"""Features are computed once for the same weights and pixels, and again for anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_training.export import weights_digest
from headway_training.features import default_cache, extract
from headway_training.networks import build_network

FEATURES = 3 * 3 * 32  # of 10x10 pixels: less 4 for the convolutions, halved


@pytest.fixture
def base() -> Any:
    return build_network("seed-cnn", ImageSpec(10, 10, 1))


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (300, 10, 10, 1), dtype=np.uint8)


def cache_file(cache: Path) -> Path:
    (path,) = (cache / "features").iterdir()
    return path


def test_features_are_the_bases_own_and_the_second_call_reads_them(
    base: Any, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    digest = weights_digest(base)
    expected = np.asarray(base(images, training=False))
    first = extract(base, digest, images, tmp_path)
    assert (first.shape, first.dtype) == ((300, FEATURES), np.dtype(np.float32))
    np.testing.assert_allclose(first, expected, atol=1e-6)
    # No base at all: whatever comes now comes from the cache.
    np.testing.assert_array_equal(extract(None, digest, images, tmp_path), first)


def test_other_weights_are_another_entry(base: Any, images: NDArray[np.uint8], tmp_path: Path) -> None:
    before = weights_digest(base)
    first = extract(base, before, images, tmp_path)
    base.set_weights([weight * 2 for weight in base.get_weights()])
    assert weights_digest(base) != before
    second = extract(base, weights_digest(base), images, tmp_path)
    assert np.abs(second - first).max() > 0
    np.testing.assert_array_equal(extract(None, before, images, tmp_path), first)


def test_other_pixels_are_another_entry(base: Any, images: NDArray[np.uint8], tmp_path: Path) -> None:
    digest = weights_digest(base)
    first = extract(base, digest, images, tmp_path)
    changed = images.copy()
    changed[0, 4, 4, 0] ^= 255
    second = extract(base, digest, changed, tmp_path)
    assert np.abs(second[0] - first[0]).max() > 0
    np.testing.assert_array_equal(second[1:], first[1:])
    assert extract(base, digest, images[:5], tmp_path).shape == (5, FEATURES)


def damages(sound: bytes) -> dict[str, bytes]:
    middle = len(sound) // 2
    return {
        "empty": b"",
        "text": b"not an array",
        "zip": b"PK\x03\x04" + sound,
        "longer": sound + b"\0",
        "truncated": sound[:middle],
        "header": sound.replace(b"<f4", b"<i4"),
        "one bit": sound[:middle] + bytes([sound[middle] ^ 64]) + sound[middle + 1 :],
    }


@pytest.mark.parametrize("kind", sorted(damages(b"  ")))
def test_a_damaged_entry_is_computed_again(base: Any, images: NDArray[np.uint8], tmp_path: Path, kind: str) -> None:
    digest = weights_digest(base)
    first = extract(base, digest, images, tmp_path)
    path = cache_file(tmp_path)
    sound = path.read_bytes()
    path.write_bytes(damages(sound)[kind])
    assert path.read_bytes() != sound
    np.testing.assert_array_equal(extract(base, digest, images, tmp_path), first)
    assert path.read_bytes() == sound


def test_an_entry_is_an_ordinary_numpy_file(base: Any, images: NDArray[np.uint8], tmp_path: Path) -> None:
    features = extract(base, weights_digest(base), images, tmp_path)
    np.testing.assert_array_equal(np.load(cache_file(tmp_path)), features)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("HEADWAY_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "headway"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "headway"
