"""TIFF in the forms that its directory can state: read as viewers show them, or refused by name."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from headway_contract.errors import InvalidImage, UnsupportedImage
from headway_contract.preprocessing import decode_image

ORDERS = {"little-endian": "<", "big-endian": ">"}
Tag = tuple[int, int, Sequence[int]]
"""Number, type (1: BYTE, 3: SHORT, 4: LONG) and values."""


def tiff(order: str, tags: list[Tag], data: bytes) -> bytes:
    """A file of that directory; ``data`` lies at 8."""
    entries, far = b"", b""
    behind = 8 + len(data) + 2 + 12 * len(tags) + 4
    for number, kind, values in sorted(tags):
        packed = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        if len(packed) > 4:
            packed, far = struct.pack(f"{order}I", behind + len(far)), far + packed
        entries += struct.pack(f"{order}HHI", number, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + far


def row(order: str, bits: int, photometric: int | None, data: bytes, *more: Tag, compression: int = 1) -> bytes:
    """One row of four pixels with one sample each."""
    photo: list[Tag] = [] if photometric is None else [(262, 3, [photometric])]
    tags: list[Tag] = [(256, 3, [4]), (257, 3, [1]), (258, 3, [bits]), (259, 3, [compression]), *photo, (277, 3, [1])]
    return tiff(order, [*tags, (273, 4, [8]), (278, 3, [1]), (279, 4, [len(data)]), *more], data)


def planes(order: str, bits: int, *, separate: bool, compression: int = 1, count: int = 3) -> bytes:
    """2 x 2 pixels of RGB, 10, 20, 30 ... in their high bytes."""
    values = (np.arange(4 * count).reshape(2, 2, count) * 10 + 10) << (bits - 8)
    stored = values.astype(f"{order}u{bits // 8}")
    parts = [stored[..., each].tobytes() for each in range(count)] if separate else [stored.tobytes()]
    parts = [zlib.compress(part) if compression == 8 else part for part in parts]
    places = [8 + sum(map(len, parts[:index])) for index in range(len(parts))]
    tags: list[Tag] = [(256, 3, [2]), (257, 3, [2]), (258, 3, [bits] * count), (259, 3, [compression]), (262, 3, [2])]
    tags += [(273, 4, places), (277, 3, [count]), (278, 3, [2]), (279, 4, [len(part) for part in parts])]
    return tiff(order, [*tags, (284, 3, [1 + separate])], b"".join(parts))


def levels(data: bytes) -> list[int]:
    """Of the one row."""
    image = decode_image(data)
    assert image.mode == "L"
    return [int(value) for value in np.asarray(image)[0]]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("compression", [1, 8], ids=["plain", "Deflate"])
def test_16_bits_in_which_0_is_white_are_not_negative(order: str, compression: int) -> None:
    stored = np.array([0, 0x8000, 0xFFFF, 0x1234]).astype(f"{order}u2").tobytes()
    data = zlib.compress(stored) if compression == 8 else stored
    assert levels(row(order, 16, 1, data, compression=compression)) == [0, 128, 255, 18]
    assert levels(row(order, 16, 0, data, compression=compression)) == [255, 127, 0, 237]


def test_12_bits_are_not_black() -> None:
    stored = bytes([0x00, 0x08, 0x00, 0xFF, 0xF1, 0x23])
    assert levels(row("<", 12, 1, stored)) == [0, 128, 255, 18]
    assert levels(row("<", 12, 0, stored)) == [255, 127, 0, 237]


def test_12_bits_in_an_order_that_is_not_read_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedImage, match="save it as PNG"):
        decode_image(row(">", 12, 1, bytes(6)))


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("scale", [1, 257], ids=["0..255", "0..65535"])
def test_a_colour_map_is_read_at_8_and_at_16_bits(order: str, scale: int) -> None:
    reds, greens, blues = [0, 10, 255], [0, 20, 255], [0, 30, 255]
    colours = [value * scale for each in (reds, greens, blues) for value in [*each, *[0] * 253]]
    found = np.asarray(decode_image(row(order, 8, 3, bytes([0, 1, 2, 1]), (320, 3, colours))))
    assert found[0].tolist() == [[0, 0, 0], [10, 20, 30], [255, 255, 255], [10, 20, 30]]


def test_what_0_means_is_guessed_as_viewers_do_where_it_is_not_said() -> None:
    assert levels(row("<", 8, None, bytes([0, 128, 255, 7]))) == [0, 128, 255, 7]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [1, 8], ids=["plain", "Deflate"])
def test_colours_in_planes_are_those_beside_each_other_or_refused(order: str, bits: int, compression: int) -> None:
    together = decode_image(planes(order, bits, separate=False, compression=compression))
    assert np.asarray(together)[0, 1].tolist() == [40, 50, 60]
    apart = planes(order, bits, separate=True, compression=compression)
    if bits == 16 and compression == 1:
        with pytest.raises(UnsupportedImage, match="separate planes"):
            decode_image(apart)
    else:
        np.testing.assert_array_equal(np.asarray(decode_image(apart)), np.asarray(together))


def test_opacity_of_0_everywhere_that_no_tag_speaks_of_is_none() -> None:
    data = bytes([10, 20, 30, 0]) * 4
    tags: list[Tag] = [(256, 3, [2]), (257, 3, [2]), (258, 3, [8] * 4), (262, 3, [2]), (277, 3, [4])]
    tags += [(273, 4, [8]), (279, 4, [16])]
    assert np.asarray(decode_image(tiff("<", tags, data)))[0, 0].tolist() == [10, 20, 30]
    # Where the file says that it is opacity, the picture is transparent.
    assert np.asarray(decode_image(tiff("<", [*tags, (338, 3, [2])], data)))[0, 0].tolist() == [255, 255, 255]


def test_gray_with_opacity_multiplied_in_is_read() -> None:
    tags: list[Tag] = [(256, 3, [1]), (257, 3, [1]), (258, 3, [8, 8]), (262, 3, [1]), (277, 3, [2]), (338, 3, [1])]
    data = tiff("<", [*tags, (273, 4, [8]), (279, 4, [2])], bytes([60, 128]))
    assert np.asarray(decode_image(data))[0, 0].tolist() == [187, 187, 187]


@pytest.mark.parametrize(
    ("more", "named"), [((339, 3, [2]), "signed samples"), ((262, 3, [8]), "CIELAB")], ids=["signed", "lab"]
)
def test_samples_that_would_be_misread_are_refused_by_name(more: Tag, named: str) -> None:
    with pytest.raises(UnsupportedImage, match=named):
        decode_image(row("<", 8, None if more[0] == 262 else 1, bytes(4), more))


def test_a_tag_of_more_values_than_any_program_writes_is_refused() -> None:
    data = row("<", 8, 3, bytes([0, 1, 2, 1]), (320, 3, [0] * 200_000))
    with pytest.raises(InvalidImage, match="tag 320 has 200,000 values"):
        decode_image(data)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    ("bits", "data"),
    [(1, b"\x60"), (4, b"\x0f\x81"), (8, bytes([0, 255, 128, 16])), (16, None)],
    ids=["1 bit", "4 bits", "8 bits", "16 bits"],
)
@pytest.mark.parametrize("photometric", [0, 1], ids=["0 is white", "0 is black"])
def test_one_plane_is_as_good_as_none(order: str, bits: int, data: bytes | None, photometric: int) -> None:
    stored = np.array([0, 0xFFFF, 0x8000, 0x1000]).astype(f"{order}u2").tobytes() if data is None else data
    together, apart = (row(order, bits, photometric, stored, (284, 3, [planar])) for planar in (1, 2))
    expected = np.asarray(decode_image(together).convert("L"))
    assert (expected[0, 0] == 255) == (photometric == 0)
    np.testing.assert_array_equal(np.asarray(decode_image(apart).convert("L")), expected)


@pytest.mark.parametrize("compression", [1, 8], ids=["plain", "Deflate"])
@pytest.mark.parametrize("count", [2, 4], ids=["gray with opacity", "colours and a fourth sample"])
def test_opacity_in_a_plane_of_its_own_is_refused_by_name(count: int, compression: int) -> None:
    with pytest.raises(UnsupportedImage, match=f"its {count} samples a pixel in separate planes"):
        decode_image(planes("<", 8, separate=True, compression=compression, count=count))


def test_a_way_of_storing_samples_that_is_not_known_is_refused_by_name() -> None:
    values = bytes(range(0, 160, 10))
    tags: list[Tag] = [(256, 3, [2]), (257, 3, [2]), (258, 3, [8] * 4), (262, 3, [2]), (277, 3, [4]), (338, 3, [0])]
    tags += [(273, 4, [8, 12, 16, 20]), (278, 3, [2]), (279, 4, [4] * 4), (284, 3, [2])]
    with pytest.raises(UnsupportedImage, match="stores its samples in a way that is not read"):
        decode_image(tiff("<", tags, values))


def test_a_colour_map_that_does_not_fit_is_damage() -> None:
    with pytest.raises(InvalidImage, match="no colour map"):
        decode_image(row("<", 8, 3, bytes([0, 1, 2, 1])))
    with pytest.raises(InvalidImage, match="48 values in its colour map, and 8 bits"):
        decode_image(row("<", 8, 3, bytes([0, 1, 2, 1]), (320, 3, [0] * 48)))


def test_a_colour_map_of_16_bits_is_no_damage() -> None:
    with pytest.raises(UnsupportedImage, match="stores its samples in a way that is not read"):
        decode_image(row("<", 16, 3, bytes(8), (320, 3, [0] * 3 * 65_536)))
