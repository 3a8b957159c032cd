"""The first frame of a GIF: on white where it does not reach, and without what stands before it."""

import struct

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import decode_image
from tests.support.contract_examples import encoded


def gif(colour: tuple[int, int, int] = (200, 0, 0), before: bytes = b"") -> bytes:
    """2 x 2 pixels of a colour at 1, 1 of a canvas of 4 x 3."""
    data = bytearray(encoded(Image.new("RGB", (2, 2), colour), "GIF"))
    at = data.index(b",")
    data[6:10], data[at + 1 : at + 5] = struct.pack("<HH", 4, 3), struct.pack("<HH", 1, 1)
    return bytes(data[:at]) + before + bytes(data[at:])


def test_the_canvas_outside_of_the_first_frame_is_white() -> None:
    found = np.asarray(decode_image(gif()))
    expected = np.full((3, 4, 3), 255)
    expected[1:3, 1:3] = 200, 0, 0
    np.testing.assert_array_equal(found, expected)


def test_a_transparent_first_frame_is_white_too() -> None:
    control = b"!\xf9\x04\x01\0\0" + bytes([gif()[13:].find(b"\xc8\0\0") // 3]) + b"\0"
    assert np.asarray(decode_image(gif(before=control))).min() == 255


def test_comments_before_the_frame_make_no_difference() -> None:
    comments = b"!\xfe" + (b"\xff" + b"c" * 255) * 1000 + b"\0"
    np.testing.assert_array_equal(np.asarray(decode_image(gif(before=comments))), np.asarray(decode_image(gif())))


def test_more_comments_than_any_program_writes_are_refused() -> None:
    with pytest.raises(InvalidImage, match="more than 65,536 blocks before its first frame"):
        decode_image(gif(before=b"!\xfe" + b"\1c" * 70_000 + b"\0"))


@pytest.mark.parametrize(
    "data", [gif()[:13], gif()[:20], b"GIF89a\2\0\2\0\0\0\0;"], ids=["head", "palette", "no frame"]
)
def test_a_file_without_a_frame_is_incomplete(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="the GIF picture is damaged or incomplete"):
        decode_image(data)
