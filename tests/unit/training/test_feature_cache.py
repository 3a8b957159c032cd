"""Features are computed once for the same weights and pixels, and again for anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_training.export import weights_digest
from headway_training.features import default_cache, extract
from headway_training.layers import NETWORKS
from headway_training.networks import build_network
from headway_training.pictures import ArrayPictures

SPEC = ImageSpec(10, 10, 1)
FEATURES = 3 * 3 * 32  # of 10x10 pixels: less 4 for the convolutions, halved


@pytest.fixture
def base() -> Any:
    return build_network(NETWORKS["seed-cnn"], SPEC)


@pytest.fixture
def rows() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (300, 10, 10), dtype=np.uint8)


def features_of(base: Any, digest: str, rows: NDArray[np.uint8], cache: Path, spec: ImageSpec = SPEC) -> Any:
    return extract(base, digest, spec, ArrayPictures(rows, "test", spec), cache)


def cache_file(cache: Path) -> Path:
    (path,) = (cache / "features").iterdir()
    return path


def test_features_are_the_bases_own_and_the_second_call_reads_them(
    base: Any, rows: NDArray[np.uint8], tmp_path: Path
) -> None:
    digest = weights_digest(base)
    expected = np.asarray(base(rows[..., np.newaxis], training=False))
    first = features_of(base, digest, rows, tmp_path)
    assert (first.shape, first.dtype) == ((300, FEATURES), np.dtype(np.float32))
    np.testing.assert_allclose(first, expected, atol=1e-6)
    # No base at all: whatever comes now comes from the cache.
    np.testing.assert_array_equal(features_of(None, digest, rows, tmp_path), first)


def test_other_weights_are_another_entry(base: Any, rows: NDArray[np.uint8], tmp_path: Path) -> None:
    before = weights_digest(base)
    first = features_of(base, before, rows, tmp_path)
    base.set_weights([weight * 2 for weight in base.get_weights()])
    assert weights_digest(base) != before
    second = features_of(base, weights_digest(base), rows, tmp_path)
    assert np.abs(second - first).max() > 0
    np.testing.assert_array_equal(features_of(None, before, rows, tmp_path), first)


def test_other_pixels_are_another_entry(base: Any, rows: NDArray[np.uint8], tmp_path: Path) -> None:
    digest = weights_digest(base)
    first = features_of(base, digest, rows, tmp_path)
    changed = rows.copy()
    changed[0, 4, 4] ^= 255
    second = features_of(base, digest, changed, tmp_path)
    assert np.abs(second[0] - first[0]).max() > 0
    np.testing.assert_array_equal(second[1:], first[1:])
    assert features_of(base, digest, rows[:5], tmp_path).shape == (5, FEATURES)


def test_another_order_of_the_pictures_is_another_entry(base: Any, rows: NDArray[np.uint8], tmp_path: Path) -> None:
    digest = weights_digest(base)
    first = features_of(base, digest, rows[:20], tmp_path)
    np.testing.assert_allclose(features_of(base, digest, rows[19::-1], tmp_path), first[::-1], atol=1e-6)


def test_another_geometry_of_the_same_pictures_is_another_entry(
    base: Any, rows: NDArray[np.uint8], tmp_path: Path
) -> None:
    digest = weights_digest(base)
    rows[:] |= 128  # light borders, which light_on_dark inverts
    first = features_of(base, digest, rows, tmp_path)
    second = features_of(base, digest, rows, tmp_path, ImageSpec(10, 10, 1, polarity="light_on_dark"))
    assert np.abs(second - first).max() > 0


def test_features_of_mirror_images_are_those_of_mirrored_pictures_and_entries_of_their_own(
    base: Any, rows: NDArray[np.uint8], tmp_path: Path
) -> None:
    digest, pictures = weights_digest(base), ArrayPictures(rows[:20], "test", SPEC)
    plain = extract(base, digest, SPEC, pictures, tmp_path)
    mirrored = extract(base, digest, SPEC, pictures, tmp_path, mirrored=True)
    expected = features_of(base, digest, np.ascontiguousarray(rows[:20, :, ::-1]), tmp_path / "other")
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)
    assert len(list((tmp_path / "features").iterdir())) == 2
    for kept, is_mirrored in ((plain, False), (mirrored, True)):
        again = extract(None, digest, SPEC, pictures, tmp_path, mirrored=is_mirrored)
        np.testing.assert_array_equal(again, kept)


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
def test_a_damaged_entry_is_computed_again(base: Any, rows: NDArray[np.uint8], tmp_path: Path, kind: str) -> None:
    digest = weights_digest(base)
    first = features_of(base, digest, rows, tmp_path)
    path = cache_file(tmp_path)
    sound = path.read_bytes()
    path.write_bytes(damages(sound)[kind])
    assert path.read_bytes() != sound
    np.testing.assert_array_equal(features_of(base, digest, rows, tmp_path), first)
    assert path.read_bytes() == sound


def test_an_entry_is_an_ordinary_numpy_file(base: Any, rows: NDArray[np.uint8], tmp_path: Path) -> None:
    features = features_of(base, weights_digest(base), rows, tmp_path)
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
