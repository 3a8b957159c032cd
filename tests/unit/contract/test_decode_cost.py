"""What decoding is said to take at the most, against what it takes."""

import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from headway_contract.errors import ImageTooLarge, UnsupportedImage
from headway_contract.preprocessing import ImageSpec, decode_cost
from tests.support.contract_examples import encoded, png_header

# In a process of its own: memory once taken is not given back, and shows what was held at the most.
_MEASURE = """
import resource, sys
from headway_contract.preprocessing import ImageSpec, decode_cost, decode_image, to_model_input
data, spec = sys.stdin.buffer.read(), ImageSpec(28, 28, 3)
said = decode_cost(data, None, spec)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
to_model_input(decode_image(data, None, spec), spec)
print(said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""

_MEASURE_WHOLE = _MEASURE.replace("None, spec)", "None, None)")

FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("JPEG", "RGB", {}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "gray PNG": ("PNG", "L", {}),
    "16-bit PNG": ("PNG", "I;16", {}),
    "PNG with opacity": ("PNG", "RGBA", {}),
    "PNG with palette": ("PNG", "P", {"transparency": 0}),
    "WebP": ("WEBP", "RGB", {"lossless": True, "method": 0}),
    "WebP with opacity": ("WEBP", "RGBA", {"method": 0}),
    "GIF": ("GIF", "P", {}),
    "BMP": ("BMP", "RGB", {}),
    "TIFF": ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
    "16-bit TIFF": ("TIFF", "I;16", {}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
}
ALLOWANCE = 12_000_000
"""Of code and tables that are loaded with the first picture."""


@pytest.mark.parametrize("name", FORMS)
def test_decoding_takes_no_more_than_is_said(name: str) -> None:
    kind, mode, options = FORMS[name]
    data = encoded(Image.new(mode, (3000, 2000)), kind, **options)
    done = subprocess.run([sys.executable, "-c", _MEASURE], input=data, capture_output=True, check=True)
    said, taken = map(int, done.stdout.split())
    assert taken < said + ALLOWANCE
    # And it is no wild guess: a camera's pictures would else be refused.
    assert said < 16 * 6_000_000 + 2 * len(data) + 100_000


@pytest.mark.parametrize("noise", [False, True], ids=["small file", "large file"])
def test_a_jpeg_without_its_end_takes_no_more_than_is_said(noise: bool) -> None:
    image = Image.effect_noise((3000, 2000), 200).convert("RGB") if noise else Image.new("RGB", (3000, 2000))
    data = encoded(image, "JPEG", quality=95).removesuffix(b"\xff\xd9")
    done = subprocess.run([sys.executable, "-c", _MEASURE_WHOLE], input=data, capture_output=True, check=True)
    said, taken = map(int, done.stdout.split())
    assert taken < said + ALLOWANCE


def test_a_jpeg_that_is_scaled_costs_less() -> None:
    data = encoded(Image.new("RGB", (3000, 2000)), "JPEG")
    assert decode_cost(data, None, ImageSpec(28, 28, 3)) < decode_cost(data) / 10


def test_what_cannot_be_decoded_has_no_cost_but_the_same_error() -> None:
    with pytest.raises(UnsupportedImage):
        decode_cost(b"seven")
    with pytest.raises(ImageTooLarge):
        decode_cost(png_header(30_000, 30_000))
