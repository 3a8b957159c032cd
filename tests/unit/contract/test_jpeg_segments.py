"""JPEG files that lack their end: what every viewer shows whole is read, what is cut short is refused."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import decode_image
from tests.support.contract_examples import encoded

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "gray": ("L", {}),
    "progressive": ("RGB", {"progressive": True}),
    "gray progressive": ("L", {"progressive": True}),
    "with restarts": ("RGB", {"restart_marker_blocks": 4}),
    "of full quality": ("RGB", {"quality": 100, "subsampling": 0}),
}


def jpeg(form: str) -> bytes:
    mode, options = FORMS[form]
    noise = np.random.default_rng(1).integers(0, 256, (50, 61, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise).convert(mode), "JPEG", **options)


@pytest.mark.parametrize("form", FORMS)
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(form: str) -> None:
    data = jpeg(form)
    whole = np.asarray(decode_image(data))
    for cut in (1, 2):
        np.testing.assert_array_equal(np.asarray(decode_image(data[:-cut])), whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_jpeg_that_lacks_a_part_of_its_pixels_is_refused(form: str) -> None:
    data = jpeg(form)
    whole = np.asarray(decode_image(data))
    for length in range(len(data) - 40, len(data) - 3):
        try:
            found = np.asarray(decode_image(data[:length]))
        except InvalidImage:
            continue
        # Bits that only fill up the last byte may be missing.
        np.testing.assert_array_equal(found, whole)
    for length in range(700, len(data) - 40, 53):
        with pytest.raises(InvalidImage, match="damaged or incomplete"):
            decode_image(data[:length])


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    data = jpeg("progressive")
    for _ in range(3):
        data = data[: data.rindex(b"\xff\xda")]
        with pytest.raises(InvalidImage, match="damaged or incomplete"):
            decode_image(data)
