"""How much memory a picture takes while it is decoded, from its header alone: what is admitted against a budget.

The figures are measured with Pillow 13 and libheif 1.23 (docs/architecture.md, "Pictures") and rounded up. They hold
for :func:`~headway_contract.decoding.decode_image` and for bringing its picture into a model's geometry.
"""

from headway_contract.picture_header import PictureHeader

_BYTES_OF_PIXEL = {"GIF": 8, "BMP": 12, "TIFF": 16, "WEBP": 16, "AVIF": 12, "HEIC": 14}
_OF_COPIES = 2  # of the encoded bytes: without metadata, and what a decoder keeps
_ALWAYS = 65_536


def decode_bytes(header: PictureHeader, encoded: int, scaled_by: int = 1, *, repeated: bool = False) -> int:
    """Bytes that decoding takes at the most. ``encoded``: of the file; ``scaled_by``: what its sides are divided by.

    ``scaled_by`` counts for a JPEG alone (:func:`~headway_contract.jpeg_scaling.denominator`), and so does
    ``repeated``: whether it has no end marker, and is decoded beside itself.
    """
    pixels = header.width * header.height
    if header.kind == "JPEG":
        shown = pixels // scaled_by**2 * (4 if header.samples != 1 else 2)
        # Of many scans, all coefficients are kept: two bytes for each sample of the whole picture.
        kept = pixels * header.samples * 2 if header.many_scans else 0
        size = 2 * shown + kept
        encoded += encoded if repeated else 0
    elif header.kind == "PNG":
        size = pixels * _of_png(header)
    else:
        size = pixels * _BYTES_OF_PIXEL[header.kind]
    return size + _OF_COPIES * encoded + _ALWAYS


def _of_png(header: PictureHeader) -> int:
    """Bytes for a pixel: gray alone is kept as it is; colours take four; opacity, a palette's too, as much again."""
    if header.samples == 1:
        return 8 if header.depth == 16 else 9
    return 12
