"""What a picture costs is decided by its header and the limits, never by what a sender hides in it."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import ACCEPTED_FORMATS, DecodeLimits, ImageSpec, decode_image, to_model_input
from tests.support.contract_examples import encoded
from tests.unit.contract.hostile_pictures import BOMBS, HARMLESS, jpeg_of_scans, sequential_jpeg_of_scans

# pytest puts its own filters before the contract's; test_no_warning_of_pillows_reaches_a_log looks without pytest.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

# In a process of its own: memory once taken is not given back, and shows what was held at the most.
_MEASURE = """
import resource, sys
from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import decode_image
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    decode_image(data); refused = ""
except InvalidImage as error:
    refused = type(error).__name__
after = resource.getrusage(resource.RUSAGE_SELF)
print(refused or "read", after.ru_maxrss - before.ru_maxrss)
"""

_DECODE_ALL = """
import pathlib, sys
from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import decode_image
done = 0
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        decode_image(path.read_bytes())
    except InvalidImage:
        pass
    done += 1
print(done)
"""


def cost(data: bytes) -> tuple[str, float]:
    """What became of it, and how many more megabytes that took at the most."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], input=data, capture_output=True, check=True)
    outcome, kilobytes = done.stdout.decode().split()
    return outcome, int(kilobytes) / 1024


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(make: Callable[[], bytes]) -> None:
    outcome, megabytes = cost(make())
    assert outcome in ("InvalidImage", "ImageTooLarge", "UnsupportedImage")
    assert megabytes < 20


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS)
def test_what_is_hidden_in_a_good_picture_costs_nothing(make: Callable[[], bytes]) -> None:
    outcome, megabytes = cost(make())
    assert outcome == "read"
    assert megabytes < 20


def test_a_progressive_jpeg_of_as_many_scans_as_programs_write_is_read() -> None:
    assert decode_image(jpeg_of_scans(12, side=64)).size == (64, 64)


def test_a_sequential_jpeg_with_a_scan_for_each_component_is_read() -> None:
    image = decode_image(sequential_jpeg_of_scans(1))
    assert (image.mode, image.size) == ("RGB", (64, 64))


def test_starts_of_scans_in_what_follows_a_picture_are_not_counted() -> None:
    data = encoded(Image.new("L", (16, 16), 9), "JPEG") + b"\xff\xda" * 500
    assert decode_image(data).size == (16, 16)


SAMPLES: dict[str, tuple[str, str, dict[str, object]]] = {
    "JPEG": ("JPEG", "RGB", {}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "gray JPEG": ("JPEG", "L", {}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "PNG": ("PNG", "RGB", {}),
    "PNG with palette": ("PNG", "P", {"transparency": 3}),
    "PNG with opacity": ("PNG", "RGBA", {}),
    "16-bit PNG": ("PNG", "I;16", {}),
    "WebP": ("WEBP", "RGB", {}),
    "WebP with opacity": ("WEBP", "RGBA", {"lossless": True}),
    "GIF": ("GIF", "P", {}),
    "BMP": ("BMP", "RGB", {}),
    "BMP with palette": ("BMP", "P", {}),
    "TIFF": ("TIFF", "RGB", {}),
    "Deflate TIFF": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "LZW TIFF": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "16-bit TIFF": ("TIFF", "I;16", {}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
}
MUTATIONS = 250
SPECS = (
    ImageSpec(28, 28, 1, polarity="auto", centre="mass"),
    ImageSpec(24, 24, 3, fit="crop"),
    ImageSpec(28, 28, 1, revision=1),
)


def sample(kind: str, mode: str, options: dict[str, object]) -> bytes:
    noise = np.random.default_rng(2).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    extra = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF") else {}
    return encoded(image, kind, **options, **extra)


def mutated(data: bytes, order: random.Random) -> bytes:
    """One to six bytes replaced, a piece cut out, doubled or moved, or the end cut off; headers more often."""
    changed = bytearray(data)
    for _ in range(order.randint(1, 6)):
        reach = len(changed) if order.random() < 0.5 else min(len(changed), 120)
        if not reach:
            break
        place, length = order.randrange(reach), order.randint(1, 24)
        match order.randrange(6):
            case 0 | 1:
                changed[place] = order.randrange(256)
            case 2:
                changed[place : place + length] = order.choice([b"\xff", b"\0", b"\x7f"]) * length
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[order.randrange(reach) :][:length]
            case _:
                del changed[order.randrange(len(changed)) + 1 :]
    return bytes(changed)


@pytest.mark.parametrize("name", [name for name, (kind, _, _) in SAMPLES.items() if kind in ACCEPTED_FORMATS])
def test_a_mutated_picture_gives_a_picture_or_a_reason(name: str) -> None:
    data, order = sample(*SAMPLES[name]), random.Random(name)
    limits, outcomes = DecodeLimits(max_pixels=1_000_000), {"read": 0, "refused": 0}
    assert decode_image(data).size == ((23, 17) if SAMPLES[name][0] in ("GIF", "BMP") else (17, 23))
    for number in range(MUTATIONS):
        spec = SPECS[number % len(SPECS)]
        try:
            image = decode_image(mutated(data, order), limits, spec)
        except InvalidImage:
            outcomes["refused"] += 1
            continue
        assert image.mode in ("L", "RGB")
        assert image.width * image.height <= limits.max_pixels
        assert to_model_input(image, spec).shape == spec.shape
        outcomes["read"] += 1
    assert outcomes["refused"] > MUTATIONS / 10
    assert outcomes["read"] > 0


def test_no_warning_of_pillows_reaches_a_log(tmp_path: Path) -> None:
    """Damaged TIFFs make Pillow warn most; in a process of its own, because pytest has its own filters."""
    data, order = sample(*SAMPLES["TIFF"]), random.Random(1)
    for number in range(MUTATIONS):
        (tmp_path / f"{number}.tiff").write_bytes(mutated(data, order))
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", _DECODE_ALL, tmp_path], capture_output=True, check=True
    )
    assert int(done.stdout) == MUTATIONS
    assert b"Warning" not in done.stderr
