"""What of a JPEG file makes its pixels, found before a decoder sees it.

Pillow keeps and joins every application segment in Python: 20 MB of empty ones take it five seconds and 700 MB. And
each scan of a progressive JPEG walks over the whole picture: 200 kB can hold thousands of them.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from headway_contract.errors import InvalidImage
from headway_contract.exif import orientation

_MOST_SEGMENTS = 10_000
MOST_SCANS = 50  # encoders write some ten; at 50 megapixels each takes about 20 ms
_SOS, _EOI, _APP0, _APP1, _APP14, _APP15, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_SEQUENTIAL = (0xC0, 0xC1)  # baseline and extended, of Huffman codes
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RST0 to RST7, SOI
_END = b"\xff\xd9"
_RUBBISH = (b"\x6d\xb6\xdb" * 100, b"\x92\x49\x24" * 100)
"""Entropy-coded data. Zeros alone may mean the end of a block, which is what a decoder takes where data are missing."""

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)


def pixel_segments(data: bytes) -> tuple[bytes, int]:
    """The file without its metadata, and its EXIF orientation, 1 to 8.

    Frame and tables are kept, JFIF and Adobe segments too, because they say which colours the components are.
    Raises :class:`InvalidImage` for more segments or scans than any camera or program writes.
    """
    kept, turned, dropped = [data[:2]], None, False
    frames: list[int] = []
    position = 2
    for _ in range(_MOST_SEGMENTS):
        found = _next_segment(data, position)
        if found is None or found[1] in (_SOS, _EOI):
            break
        start, marker, end = found
        if marker == _APP1 and turned is None and data[start + 4 : start + 10] == b"Exif\0\0":
            turned = orientation(data[start + 4 : end])
        if marker in _FRAMES:
            frames.append(start)
        if (_APP0 < marker <= _APP15 and marker != _APP14) or marker == _COM:
            dropped = True
        else:
            dropped = dropped or start > position  # bytes that belong to nothing
            kept.append(data[start:end])
        position = end
    else:
        raise InvalidImage(f"the JPEG picture has more than {_MOST_SEGMENTS:,} segments before its pixels")
    if not _is_one_scan(data, frames, found) and data.count(b"\xff\xda", position) > MOST_SCANS:
        _check_scans(data, position)
    if dropped:
        data = b"".join([*kept, data[position:]])
    return data, turned or 1


@dataclass(frozen=True, slots=True)
class Frame:
    """What the head of a JPEG says: size in pixels, components, and whether its scans are more than one."""

    width: int
    height: int
    components: int
    is_progressive: bool
    has_many_scans: bool


def frame_of(data: bytes) -> Frame | None:
    """The frame; None where none comes before the first scan."""
    frame = None
    for start, marker in _segments(data):
        if marker in (_SOS, _EOI):
            if marker == _EOI or frame is None:
                return None
            height, width, components = struct.unpack_from(">HHB", data, frame + 5)
            progressive = data[frame + 1] in _PROGRESSIVE
            return Frame(width, height, components, progressive, progressive or data[start + 4] != components)
        if marker in _FRAMES:
            frame = start
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each segment begins, and its marker; of more than any program writes, the first ones."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        found = _next_segment(data, position)
        if found is None:
            return
        start, marker, position = found
        yield start, marker


def is_ended(data: bytes) -> bool:
    """Whether the end of the picture is marked somewhere behind the beginning of its last scan."""
    return data.endswith(_END) or data.find(_END, data.rfind(b"\xff\xda")) >= 0


def has_all_scans(data: bytes) -> bool:
    """Whether every component has been sent to its last bit, if each scan is whole. Source: ITU-T T.81, G.1.1."""
    frame, sent = frame_of(data), set[tuple[int, int]]()
    if frame is None:
        return False
    for start, marker in _segments(data):
        if marker == _SOS:
            count = data[start + 4]
            numbers = data[start + 5 : start + 5 + 2 * count : 2]
            first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
            if not frame.is_progressive:
                first, last, bits = 0, 63, 0
            sent |= {(each, place) for each in numbers for place in (first, last) if bits & 0x0F == 0}
    return sum(place in (0, 63) for _, place in sent) == 2 * frame.components


def ended(data: bytes) -> list[Callable[[], bytes]]:
    """What makes a file that lacks its end marker, with one; and such with rubbish of several kinds before it.

    If all of the picture is there, what follows makes no difference to it. If its last scan is cut short, a decoder
    fills up with gray in the one case and takes the rubbish in the others, behind restart markers too.
    """
    end = len(data.rstrip(b"\xff"))  # without half of a marker, which would make one of what follows
    view, tails = memoryview(data)[:end], [_END]
    for kind in _RUBBISH:
        restarts = b"".join(b"\xff" + bytes([0xD0 + number]) + kind for number in range(8))
        tails.append(kind + restarts * 2 + _END)
    return [partial(b"".join, (view, tail)) for tail in tails]


def _is_one_scan(data: bytes, frames: list[int], first: tuple[int, int, int] | None) -> bool:
    """Whether the first scan is of all components and not progressive; libjpeg refuses a second one then.

    Most pictures are so, and counting takes a millisecond for a camera's. Source: ITU-T T.81, B.2.2 and B.2.3.
    """
    if len(frames) != 1 or first is None or first[1] != _SOS:
        return False
    frame, scan = frames[0], first[0]
    return data[frame + 1] in _SEQUENTIAL and data[frame + 9 : frame + 10] == data[scan + 4 : scan + 5]


def _next_segment(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Where the next marker is, which, and where its segment ends; None at the end of the data."""
    found = _MARKER.search(data, position)
    if found is None:
        return None
    start, marker = found.end() - 2, found[1][0]
    if marker in _ALONE or start + 4 > len(data):
        return start, marker, start + 2
    (length,) = struct.unpack_from(">H", data, start + 2)
    return start, marker, start + 2 + max(length, 2)


def _check_scans(data: bytes, position: int) -> None:
    """Count the scans exactly: the bytes of a start of scan may also lie in what follows the picture."""
    scans = 0
    while (found := _next_segment(data, position)) is not None and found[1] != _EOI:
        scans += found[1] == _SOS
        if scans > MOST_SCANS:
            raise InvalidImage(f"the JPEG picture has more than {MOST_SCANS} scans; save it as a baseline JPEG")
        position = found[2]
