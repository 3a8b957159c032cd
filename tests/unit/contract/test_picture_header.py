"""Sizes from the first bytes of a file, and names for what is no picture that is read."""

import base64
import struct

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import ImageTooLarge, UnsupportedImage
from headway_contract.picture_header import read_header, sniff
from headway_contract.preprocessing import ACCEPTED_FORMATS, decode_image
from tests.support.contract_examples import encoded, png_header

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
PNG = encoded(PICTURE, "PNG")

FOREIGN = {
    "base64 text": (base64.b64encode(PNG), "base64 text"),
    "base64 text of a JPEG in lines": (base64.encodebytes(encoded(PICTURE, "JPEG")), "base64 text"),
    "a data URL": (b"data:image/png;base64," + base64.b64encode(PNG), "base64 text"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "SVG with a prologue": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "an SVG drawing"),
    "JPEG XL": (b"\xff\x0a" + bytes(40), "a JPEG XL picture"),
    "JPEG XL in its container": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "a JPEG XL picture"),
    "PDF": (b"%PDF-1.7\n", "a PDF document"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    "HTML": (b"<!DOCTYPE html><html>", "an HTML page"),
    "a film": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
}


@pytest.mark.parametrize(("data", "name"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_picture_is_named_in_the_refusal(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"the bytes are {name}.*JPEG, PNG, WEBP, GIF, BMP, TIFF"):
        decode_image(data)


@pytest.mark.parametrize("kind", [kind for kind in ACCEPTED_FORMATS if kind != "HEIC"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_size_is_that_of_the_decoded_picture(kind: str, mode: str) -> None:
    for options in ({}, {"lossless": True}) if kind == "WEBP" else ({},):
        data = encoded(PICTURE.convert(mode), kind, **options)
        assert sniff(data) == kind
        header = read_header(kind, data)
        assert (header.kind, header.width, header.height) == (kind, 30, 20)


def test_a_webp_with_opacity_and_metadata_has_its_size_in_its_first_chunk() -> None:
    header = read_header("WEBP", encoded(PICTURE.convert("RGBA"), "WEBP", xmp=b"x" * 9))
    assert (header.width, header.height) == (30, 20)


@pytest.mark.parametrize(("width", "height"), [(1, 50_000_000), (70_000, 2), (65_536, 1)])
def test_rows_of_more_pixels_than_any_picture_has_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageTooLarge, match=f"{width} x {height}; at most 65,535 pixels a side"):
        decode_image(png_header(width, height))


def test_a_webp_of_34_bytes_is_refused_before_its_decoder_takes_memory_for_the_canvas() -> None:
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") + (16_382).to_bytes(3, "little")
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    with pytest.raises(ImageTooLarge, match="16383 x 16383"):
        decode_image(data)
