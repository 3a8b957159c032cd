"""Makes the awkward pictures of the golden set and the digests of what they must become.

Run ``python -m tests.golden.make_golden_images`` only for a new picture or a new ``SPEC_REVISION``. It adds digests and
changes none: one that would change means that published models no longer see the pixels they were trained on.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from headway_contract.preprocessing import ACCEPTED_FORMATS, ImageSpec, decode_image, to_model_input

IMAGES = Path(__file__).parent / "images"
EXPECTED = Path(__file__).parent / "expected.json"

SPECS = {
    "gray-28x28-stretch": ImageSpec(28, 28, 1, polarity="light_on_dark", revision=1),
    "rgb-32x48-pad": ImageSpec(32, 48, 3, fit="pad", resample="bicubic", pad_value=114, revision=1),
    "rgb-24x24-crop": ImageSpec(24, 24, 3, fit="crop", resample="lanczos", revision=1),
    "digit-28x28": ImageSpec(28, 28, 1, polarity="auto", centre="mass", revision=2),
    "rgb-16x16-stretch-2": ImageSpec(16, 16, 3, revision=2),
    "rgb-32x48-pad-2": ImageSpec(32, 48, 3, fit="pad", resample="bicubic", pad_value=114, revision=2),
    "gray-24x24-crop-2": ImageSpec(24, 24, 1, fit="crop", resample="lanczos", revision=2),
    "digit-28x28-3": ImageSpec(28, 28, 1, polarity="auto", centre="mass"),
    "rgb-90x130-pad-3": ImageSpec(90, 130, 3, fit="pad", resample="bicubic", pad_value=114),
    "gray-24x24-crop-3": ImageSpec(24, 24, 1, fit="crop", resample="lanczos"),
}

_ORIENTATION = 0x0112
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, column step and row step of each pass. Source: PNG specification, section 8.2."""

_PNG_GRAY, _PNG_RGB = 0, 2  # colour types of the header


def scene() -> Image.Image:
    """An RGB picture of 45 x 30 pixels that no flip or turn maps onto itself: smooth, sharp and noisy parts."""
    x, y = np.meshgrid(np.linspace(0, 255, 45), np.linspace(0, 255, 30))
    noise = np.random.default_rng(5).integers(0, 30, (30, 45, 3))
    pixels = np.stack([x, y, 255 - (x + y) / 2], axis=-1) * 0.88 + noise
    image = Image.fromarray(pixels.astype(np.uint8))
    ImageDraw.Draw(image).rectangle((4, 3, 12, 20), fill=(250, 240, 20))
    return image


def ink() -> Image.Image:
    """A grayscale seven, dark ink on light paper, 40 x 50 pixels."""
    image = Image.new("L", (40, 50), 235)
    ImageDraw.Draw(image).line([(8, 10), (31, 10), (17, 42)], fill=25, width=5)
    return image


def alpha() -> Image.Image:
    """The opacity of each pixel of :func:`scene`: a ramp with a fully transparent left third."""
    ramp = np.clip(np.linspace(-127, 255, 45), 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(ramp[None], 30, axis=0))


def sixteen_bits(channels: int) -> NDArray[np.uint16]:
    """Samples ``uint16[30, 45, channels]``: the scene in the high byte, noise in the low one."""
    noise = np.random.default_rng(16).integers(0, 256, (30, 45, channels))
    return np.asarray(scene()).astype(np.uint16)[..., :channels] * np.uint16(256) + noise.astype(np.uint16)


def photo(width: int, height: int) -> Image.Image:
    """The scene, large: what a camera gives for a small model."""
    return scene().resize((width, height), Image.Resampling.BICUBIC)


def written() -> Image.Image:
    """A seven in gray pencil, in a corner of an unevenly lit sheet of 400 x 300 pixels."""
    sheet = Image.new("L", (400, 300), 0)
    ImageDraw.Draw(sheet).line([(230, 40), (330, 40), (270, 190)], fill=255, width=14)
    paper = 210 - np.linspace(0, 90, 400) - np.linspace(0, 30, 300)[:, np.newaxis]
    noise = np.random.default_rng(8).normal(0, 3, (300, 400))
    pixels = paper * (1 - np.asarray(sheet) / 255 * 0.6) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def png(
    samples: NDArray[np.uint8] | NDArray[np.uint16], *, interlaced: bool = False, transparent: tuple[int, ...] = ()
) -> bytes:
    """Write ``[H, W, 1 or 3]`` samples of 8 or 16 bits as a PNG, without Pillow, which cannot write all of these."""
    height, width, channels = samples.shape
    colour = _PNG_GRAY if channels == 1 else _PNG_RGB
    header = struct.pack(">IIBBBBB", width, height, samples.itemsize * 8, colour, 0, 0, int(interlaced))
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [samples]
    # Each row begins with its filter: 0, none.
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for part in passes for row in part)
    key = struct.pack(f">{len(transparent)}H", *transparent)
    parts = [(b"IHDR", header), *([(b"tRNS", key)] if key else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif


def _save_pillow_pictures() -> None:
    upright = scene()
    rgba = upright.copy()
    rgba.putalpha(alpha())
    gray_alpha = upright.convert("L")
    gray_alpha.putalpha(alpha())
    palette = upright.quantize(16)
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # orientation 6: show it turned clockwise
    saves: dict[str, Callable[[Path], None]] = {
        "upright.png": upright.save,
        "palette.png": palette.save,
        "palette-transparent.png": lambda path: palette.save(path, transparency=palette.getpixel((0, 29))),
        "cmyk.jpg": lambda path: upright.convert("CMYK").save(path, quality=92),
        "rgba.png": rgba.save,
        "gray-alpha.png": gray_alpha.save,
        "exif-6.jpg": lambda path: turned.save(path, quality=92, exif=_exif(6)),
        "exif-3.jpg": lambda path: upright.rotate(180).save(path, quality=92, exif=_exif(3)),
        "exif-6.png": lambda path: turned.save(path, exif=_exif(6)),
        "one-pixel.png": Image.new("RGB", (1, 1), (200, 30, 90)).save,
        "one-bit.png": ink().convert("1").save,
        "animated.gif": lambda path: palette.save(
            path, save_all=True, append_images=[ImageOps.invert(upright).quantize(16)], duration=100
        ),
        "lossy.webp": lambda path: upright.save(path, quality=90),
        "plain.bmp": upright.save,
        "packed.tiff": lambda path: upright.save(path, compression="tiff_adobe_deflate"),
        "dark-ink.png": ink().save,
        "light-ink.png": ImageOps.invert(ink()).save,
        "sliver.png": upright.resize((200, 3)).save,
        "photo.jpg": lambda path: photo(450, 300).save(path, quality=60),
        "photo-exif-6.jpg": lambda path: (
            photo(450, 300).transpose(Image.Transpose.ROTATE_90).save(path, quality=60, exif=_exif(6))
        ),
        "photo-gray.jpg": lambda path: photo(450, 300).convert("L").save(path, quality=60, progressive=True),
        "photo-cmyk.jpg": lambda path: photo(300, 200).convert("CMYK").save(path, quality=60),
        "written.jpg": lambda path: written().save(path, quality=70),
        "gray-16bit.tiff": lambda path: Image.fromarray(sixteen_bits(1)[..., 0]).save(path, compression="tiff_lzw"),
        "gray-alpha.tiff": lambda path: gray_alpha.save(path, compression="tiff_lzw"),
        "exif-5.webp": lambda path: upright.save(path, lossless=True, exif=_exif(5)),
    }
    if "AVIF" in ACCEPTED_FORMATS:
        saves["lossy.avif"] = lambda path: upright.save(path, quality=80, speed=8)
    for name, save in saves.items():
        if not (IMAGES / name).exists():
            save(IMAGES / name)


def _expected() -> dict[str, Any]:
    arrays = {
        path.name: {
            name: to_model_input(decode_image(path.read_bytes(), spec=spec), spec) for name, spec in SPECS.items()
        }
        for path in sorted(IMAGES.iterdir())
    }
    return {
        "specs": {name: spec.to_mapping() for name, spec in SPECS.items()},
        "images": {
            image: {
                name: {"shape": list(array.shape), "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
                for name, array in of_spec.items()
            }
            for image, of_spec in arrays.items()
        },
    }


def main() -> None:
    """Write every picture and ``expected.json``."""
    IMAGES.mkdir(exist_ok=True)
    _save_pillow_pictures()
    (IMAGES / "gray-16bit.png").write_bytes(png(sixteen_bits(1)))
    (IMAGES / "rgb-16bit.png").write_bytes(png(sixteen_bits(3)))
    (IMAGES / "interlaced.png").write_bytes(png(np.asarray(scene()), interlaced=True))
    # The lowest sample of each is transparent; with 16 bits, some other has the same high byte.
    gray, colour = sixteen_bits(1), np.asarray(scene())
    (IMAGES / "gray-16bit-key.png").write_bytes(png(gray, transparent=(int(gray.min()),)))
    (IMAGES / "rgb-key.png").write_bytes(png(colour, transparent=tuple(int(sample) for sample in colour[10, 8])))
    expected = _expected()
    _refuse_changes(json.loads(EXPECTED.read_bytes()), expected)
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _refuse_changes(before: dict[str, Any], after: dict[str, Any]) -> None:
    for image, of_spec in before["images"].items():
        for name, found in of_spec.items():
            if after["images"][image][name] != found:
                raise SystemExit(f"{image} under {name} would become another array; published models rely on this one")


if __name__ == "__main__":
    main()
