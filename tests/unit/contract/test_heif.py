"""HEIC: read where pi-heif is installed, else named with what to do."""

import numpy as np
import pytest

from headway_contract import decoding, heif
from headway_contract.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from headway_contract.preprocessing import DecodeLimits, decode_image
from tests.support import heic_pictures

needs_heif = pytest.mark.skipif(not heif.INSTALLED, reason="pi-heif (the extra heif) is not installed")


@needs_heif
def test_a_phones_picture_is_read() -> None:
    image = decode_image(heic_pictures.RGB)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert np.abs(np.asarray(image)[5, 5].astype(int) - [250, 10, 10]).max() < 8


@needs_heif
def test_it_is_turned_upright_once() -> None:
    image = decode_image(heic_pictures.TURNED)
    assert image.size == (48, 64)
    # The upper left corner of what is stored is at the upper right.
    assert np.abs(np.asarray(image)[5, 42].astype(int) - [250, 10, 10]).max() < 8


@needs_heif
def test_gray_and_opacity_are_read() -> None:
    assert decode_image(heic_pictures.GRAY).mode == "L"
    opaque, plain = (
        np.asarray(decode_image(each)).astype(int) for each in (heic_pictures.OPAQUE_RGBA, heic_pictures.RGB)
    )
    assert np.abs(opaque - plain).max() < 8


@needs_heif
def test_it_is_bounded_like_the_rest() -> None:
    with pytest.raises(ImageTooLarge, match="at most 1,000"):
        decode_image(heic_pictures.RGB, DecodeLimits(max_pixels=1000))
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(InvalidImage, match="HEIC"):
            decode_image(heic_pictures.RGB[: int(len(heic_pictures.RGB) * share)])


def test_without_the_package_the_refusal_names_it_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ACCEPTED_FORMATS", ("JPEG", "PNG"))
    with pytest.raises(UnsupportedImage, match=r"is HEIC.*pip install 'headway\[heif\]'.*JPEG, PNG"):
        decode_image(heic_pictures.RGB)
