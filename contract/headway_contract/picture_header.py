"""Format and size of a picture from its first bytes, without a decoder; and a name for what is no picture.

Some readers take their memory when they open a file: WebP's does so for the whole canvas, of a file of 34 bytes. So
sizes are read here, for every format, before anybody else sees the bytes.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from headway_contract.errors import InvalidImage, UnsupportedImage
from headway_contract.gif_blocks import first_frame
from headway_contract.jpeg_segments import frame_of
from headway_contract.tiff_directory import stated_size

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

_BASE64_PICTURE = re.compile(
    rb"\s*(?:data:[a-z]+/[a-z0-9.+-]*[;,]|/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk[0-3])", re.I
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]{64,}={0,2}\s*")
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|!doctype svg|svg)[^\0]*", re.I)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b", re.I)
_SEEN = 1024  # bytes by which a foreign format is recognized

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "data compressed with gzip"),
)


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """``kind``: Pillow's name of the format. ``width`` and ``height``: pixels, as the file says it.

    ``samples``: components of a pixel; ``depth``: bits of each; both 0 where the header does not say it.
    ``many_scans``: a JPEG of several passes over the picture, all of whose coefficients are kept.
    """

    kind: str
    width: int
    height: int
    samples: int = 0
    depth: int = 0
    many_scans: bool = False


def sniff(data: bytes) -> str | None:
    """The format by the file's first bytes, whether it is read here or not; None for any other."""
    kind = None
    if data.startswith(b"\xff\xd8\xff"):
        kind = "JPEG"
    elif data.startswith(PNG_SIGNATURE):
        kind = "PNG"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        kind = "WEBP"
    elif data.startswith((b"GIF87a", b"GIF89a")):
        kind = "GIF"
    elif data.startswith(_TIFF_SIGNATURES):
        kind = "TIFF"
    elif data[4:8] == b"ftyp":
        kind = _of_brands(data)
    elif data.startswith(b"BM"):
        kind = "BMP"
    return kind


def refusal(data: bytes, accepted: tuple[str, ...]) -> UnsupportedImage:
    """The error of bytes in no format of ``accepted``: what they are, as far as that can be seen, and what to do."""
    formats = f"an accepted format ({', '.join(accepted)})"
    if sniff(data) == "HEIC":
        return UnsupportedImage(
            "the picture is HEIC, which is read where the package pi-heif is installed (pip install 'headway[heif]'); "
            f"install it there, or send the picture in {formats}"
        )
    head = data[:_SEEN]
    if _BASE64_PICTURE.match(head) or (_BASE64.fullmatch(head) and b"\n" not in head[:16]):
        return UnsupportedImage(
            "the bytes are base64 text, not the picture itself: send the bytes that it stands for, or "
            f'JSON {{"images": [{{"b64": "..."}}]}}; then in {formats}'
        )
    found = next((name for start, name in _OTHERS if head.startswith(start)), None) or _named_by_text(head)
    if found is None:
        return UnsupportedImage(f"the bytes are not a picture in {formats}")
    return UnsupportedImage(f"the bytes are {found}, which is not read; send it as a picture in {formats}")


def read_header(kind: str, data: bytes) -> PictureHeader:
    """The size that a file of that format states. Raises :class:`InvalidImage` where it states none."""
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError, ValueError):
        header = None
    if header is None:
        raise InvalidImage(f"the {kind} picture's header cannot be read: the file is damaged or incomplete")
    return header


def _of_brands(data: bytes) -> str | None:
    """AVIF or HEIC by the brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(data[:4]), 512, len(data))
    brands = {data[at : at + 4] for at in (8, *range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def _named_by_text(head: bytes) -> str | None:
    if b"%PDF-" in head:
        return "a PDF document"
    if _SVG.match(head) and b"<svg" in head.lower():
        return "an SVG drawing"
    if _HTML.match(head):
        return "an HTML page"
    if head[4:8] == b"ftyp":
        return "a video or another file in an MP4 container"
    return None


def _png(data: bytes) -> PictureHeader:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    return PictureHeader("PNG", width, height, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4), depth)


def _jpeg(data: bytes) -> PictureHeader | None:
    frame = frame_of(data)
    if frame is None:
        return None
    return PictureHeader("JPEG", frame.width, frame.height, frame.components, 8, frame.has_many_scans)


def _gif(data: bytes) -> PictureHeader:
    """The canvas, which a decoder makes larger where the first frame does not fit."""
    width, height = struct.unpack_from("<HH", data, 6)
    _, (_, _, right, bottom) = first_frame(data)
    return PictureHeader("GIF", max(width, right), max(height, bottom))


def _bmp(data: bytes) -> PictureHeader:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, depth = struct.unpack_from("<iiHH", data, 18)
    return PictureHeader("BMP", abs(width), abs(height), 0, depth)


def _webp(data: bytes) -> PictureHeader | None:
    """Source: RFC 9649, 2.5 to 2.7 and 3.4, and RFC 6386, 9.1."""
    kind = data[12:16]
    if kind == b"VP8X":
        return PictureHeader(
            "WEBP", int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        )
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", data, 21)
        return PictureHeader("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return PictureHeader("WEBP", width & 0x3FFF, height & 0x3FFF)
    return None


def _of_items(kind: str, data: bytes) -> PictureHeader | None:
    """The largest item of an AVIF or HEIC file: which one is shown, its boxes say in many ways."""
    best, at = (0, 0), data.find(b"ispe")
    while at >= 0:
        if at + 16 <= len(data):
            best = max(best, struct.unpack_from(">II", data, at + 8), key=lambda size: size[0] * size[1])
        at = data.find(b"ispe", at + 4)
    return PictureHeader(kind, *best) if best[0] else None


def _tiff(data: bytes) -> PictureHeader:
    return PictureHeader("TIFF", *stated_size(data))


_READERS: dict[str, Callable[[bytes], PictureHeader | None]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "BMP": _bmp,
    "WEBP": _webp,
    "TIFF": _tiff,
    "AVIF": lambda data: _of_items("AVIF", data),
    "HEIC": lambda data: _of_items("HEIC", data),
}
