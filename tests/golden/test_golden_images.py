"""The golden pictures become exactly the recorded arrays, and these mean what the contract says.

The digests hold for the locked Pillow: another build's JPEG or WebP decoder may differ in the last bit.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.pictures import FilePictures, PictureFile
from tests.golden.golden_set import CASES, GoldenCase, digest, image_path

LIGHT_ON_DARK = ImageSpec(28, 28, 1, polarity="light_on_dark")


def decoded(name: str) -> NDArray[np.uint8]:
    return np.asarray(decode_image(image_path(name).read_bytes()))


def stored(name: str) -> NDArray[np.uint8]:
    """The pixels as they lie in the file: no orientation, no compositing, no conversion."""
    with Image.open(image_path(name)) as image:
        return np.asarray(image)


def opacity() -> NDArray[np.float64]:
    return stored("rgba.png")[..., 3].astype(np.float64) / 255


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_golden_picture_becomes_the_recorded_array(case: GoldenCase) -> None:
    array = to_model_input(decode_image(case.path.read_bytes(), spec=case.spec), case.spec)
    assert array.dtype == np.uint8
    assert array.shape == case.shape
    assert digest(array) == case.digest


def test_every_picture_of_the_folder_is_in_the_set_and_small() -> None:
    pictures = set(image_path("").iterdir())
    assert pictures == {case.path for case in CASES}
    assert max(path.stat().st_size for path in pictures) < 20_000


def test_the_recorded_shapes_are_those_of_the_geometries() -> None:
    assert {case.spec_name: case.shape for case in CASES} == {
        "gray-28x28-stretch": (28, 28, 1),
        "rgb-32x48-pad": (32, 48, 3),
        "rgb-24x24-crop": (24, 24, 3),
        "digit-28x28": (28, 28, 1),
        "rgb-16x16-stretch-2": (16, 16, 3),
        "rgb-32x48-pad-2": (32, 48, 3),
        "gray-24x24-crop-2": (24, 24, 1),
        "digit-28x28-3": (28, 28, 1),
        "rgb-90x130-pad-3": (90, 130, 3),
        "gray-24x24-crop-3": (24, 24, 1),
    }
    assert {case.spec.revision for case in CASES} == {1, 2, 3}
    assert all(case.shape == case.spec.shape for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_training_reads_a_golden_file_as_the_recorded_array(case: GoldenCase) -> None:
    pictures = FilePictures([PictureFile(case.path, case.path.name, "", "")], case.spec)
    assert digest(pictures.read([0])[0]) == case.digest


def test_a_scaled_decoding_differs_from_the_full_one_by_a_few_levels_at_most() -> None:
    for name in ("photo.jpg", "photo-exif-6.jpg"):
        data = image_path(name).read_bytes()
        for spec in (ImageSpec(16, 16, 3), ImageSpec(32, 48, 3, fit="pad"), ImageSpec(24, 24, 1, fit="crop")):
            scaled = decode_image(data, spec=spec)
            assert scaled.width < 450
            full = to_model_input(decode_image(data), spec).astype(int)
            assert np.abs(to_model_input(scaled, spec) - full).mean() < 4


@pytest.mark.parametrize(("revision", "size"), [(2, (225, 150)), (3, (113, 75))])
def test_a_photo_turned_by_exif_is_the_upright_one_when_scaled_too(revision: int, size: tuple[int, int]) -> None:
    spec = ImageSpec(16, 60, 3, revision=revision)
    upright, turned = (
        decode_image(image_path(name).read_bytes(), spec=spec) for name in ("photo.jpg", "photo-exif-6.jpg")
    )
    assert upright.size == turned.size == size
    assert np.abs(to_model_input(upright, spec).astype(int) - to_model_input(turned, spec)).mean() < 3


def test_the_transparent_colour_of_a_picture_without_opacity_becomes_white() -> None:
    colour, found = stored("upright.png"), decoded("rgb-key.png")
    transparent = (colour == colour[10, 8]).all(axis=-1)
    assert 0 < np.count_nonzero(transparent) < transparent.size
    assert (found[transparent] == 255).all()
    np.testing.assert_array_equal(found[~transparent], colour[~transparent])
    samples = stored("gray-16bit.png")
    transparent = samples == samples.min()
    # Others share its high byte and are shown.
    assert np.count_nonzero(samples // 256 == samples.min() // 256) > np.count_nonzero(transparent)
    np.testing.assert_array_equal(decoded("gray-16bit-key.png"), np.where(transparent, 255, samples // 256))


def test_writing_on_an_unevenly_lit_sheet_becomes_light_strokes_in_the_middle() -> None:
    spec = ImageSpec(28, 28, 1, polarity="auto", centre="mass")
    pixels = to_model_input(decode_image(image_path("written.jpg").read_bytes(), spec=spec), spec)[..., 0]
    assert pixels.max() == 255
    assert 0.05 < (pixels > 127).mean() < 0.3
    assert not pixels[:3].any()
    assert (pixels == 0).mean() > 0.6


@pytest.mark.parametrize("name", ["exif-6.png", "interlaced.png", "plain.bmp", "packed.tiff", "rgb-16bit.png"])
def test_a_lossless_file_of_the_same_scene_decodes_to_the_same_pixels(name: str) -> None:
    np.testing.assert_array_equal(decoded(name), stored("upright.png"))


@pytest.mark.parametrize(("name", "quarter_turns_clockwise"), [("exif-6.jpg", 1), ("exif-3.jpg", 2), ("exif-6.png", 1)])
def test_exif_orientation_turns_the_stored_pixels_upright(name: str, quarter_turns_clockwise: int) -> None:
    upright = decoded(name)
    np.testing.assert_array_equal(upright, np.rot90(stored(name), k=-quarter_turns_clockwise))
    # JPEG loses detail; a wrong turn would be off by some 80 levels on average.
    assert np.abs(upright.astype(int) - stored("upright.png")).mean() < 12


def test_sixteen_bit_samples_keep_their_high_byte() -> None:
    samples = stored("gray-16bit.png")
    assert samples.max() > 255
    np.testing.assert_array_equal(decoded("gray-16bit.png"), samples // 256)
    np.testing.assert_array_equal(decoded("gray-16bit.png"), stored("upright.png")[..., 0])
    np.testing.assert_array_equal(decoded("gray-16bit.tiff"), stored("upright.png")[..., 0])


def test_transparency_becomes_white() -> None:
    cover = opacity()
    colour = stored("rgba.png")[..., :3]
    np.testing.assert_allclose(decoded("rgba.png"), colour * cover[..., None] + 255 * (1 - cover[..., None]), atol=1)
    assert (decoded("rgba.png")[cover == 0] == 255).all()
    assert np.count_nonzero(cover == 0) > 300


def test_transparency_of_a_gray_picture_becomes_white() -> None:
    gray = stored("gray-alpha.png")[..., 0]
    expected = gray * opacity() + 255 * (1 - opacity())
    for name in ("gray-alpha.png", "gray-alpha.tiff"):
        for channel in np.moveaxis(decoded(name), -1, 0):
            np.testing.assert_allclose(channel, expected, atol=1)


def test_a_palette_picture_shows_its_colours_and_white_where_it_is_transparent() -> None:
    indices = stored("palette-transparent.png")
    transparent = indices == indices[-1, 0]
    assert 0 < np.count_nonzero(transparent) < transparent.size
    opaque = decoded("palette.png")
    assert np.abs(opaque.astype(int) - stored("upright.png")).mean() < 16
    found = decoded("palette-transparent.png")
    assert (found[transparent] == 255).all()
    np.testing.assert_array_equal(found[~transparent], opaque[~transparent])


@pytest.mark.parametrize(("name", "mean_difference"), [("cmyk.jpg", 16), ("lossy.webp", 10), ("lossy.avif", 10)])
def test_a_lossy_picture_is_close_to_the_scene(name: str, mean_difference: float) -> None:
    assert np.abs(decoded(name).astype(int) - stored("upright.png")).mean() < mean_difference


def test_an_animation_gives_its_first_frame() -> None:
    with Image.open(image_path("animated.gif")) as animation:
        assert getattr(animation, "n_frames") == 2  # noqa: B009  # Pillow types it on no common class
        first = np.asarray(animation.convert("RGB"))
        animation.seek(1)
        second = np.asarray(animation.convert("RGB"))
    np.testing.assert_array_equal(decoded("animated.gif"), first)
    assert np.abs(first.astype(int) - second).mean() > 50


def test_a_one_bit_picture_is_black_and_white() -> None:
    assert set(np.unique(decoded("one-bit.png")).tolist()) == {0, 255}
    np.testing.assert_array_equal(decoded("one-bit.png") == 255, stored("one-bit.png"))


def test_dark_ink_on_paper_and_its_negative_become_the_same_light_strokes() -> None:
    dark, light = (
        to_model_input(decode_image(image_path(name).read_bytes()), LIGHT_ON_DARK)
        for name in ("dark-ink.png", "light-ink.png")
    )
    np.testing.assert_array_equal(dark, light)
    strokes: NDArray[np.bool_] = np.greater(dark[..., 0], 127)
    assert 0.03 < strokes.mean() < 0.4
    assert not strokes[[0, -1], :].any()
    assert not strokes[:, [0, -1]].any()


def test_polarity_is_kept_where_the_geometry_says_so() -> None:
    image = decode_image(image_path("dark-ink.png").read_bytes())
    kept = to_model_input(image, ImageSpec(50, 40, 1))
    np.testing.assert_array_equal(kept[..., 0], stored("dark-ink.png"))


def test_one_pixel_fills_the_frame() -> None:
    pixel = decode_image(image_path("one-pixel.png").read_bytes())
    assert (to_model_input(pixel, ImageSpec(24, 24, 3, fit="crop", resample="lanczos")) == (200, 30, 90)).all()
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
    assert (to_model_input(pixel, LIGHT_ON_DARK) == round(0.299 * 200 + 0.587 * 30 + 0.114 * 90)).all()


def test_padding_lies_on_both_sides() -> None:
    pixel = decode_image(image_path("one-pixel.png").read_bytes())
    array = to_model_input(pixel, ImageSpec(32, 48, 3, fit="pad", pad_value=114))
    # A square in a frame of 48 x 32: eight columns of padding on either side.
    assert (array[:, 8:40] == (200, 30, 90)).all()
    assert (array[:, :8] == 114).all()
    assert (array[:, 40:] == 114).all()


def test_pad_shows_the_whole_picture_between_bars() -> None:
    array = to_model_input(decode_image(image_path("sliver.png").read_bytes()), ImageSpec(32, 48, 3, fit="pad"))
    (row,) = np.flatnonzero(array.max(axis=(1, 2))).tolist()
    # 200 x 3 in a frame 48 wide is 48 x 0.72: one row, in the middle.
    assert row in (15, 16)


def test_crop_keeps_the_centre() -> None:
    scene = stored("upright.png")  # 30 rows, 45 columns
    array = to_model_input(Image.fromarray(scene), ImageSpec(30, 30, 3, fit="crop", resample="nearest"))
    offsets = [x for x in range(16) if (array == scene[:, x : x + 30]).all()]
    assert offsets in ([7], [8])


def test_a_smaller_picture_is_antialiased() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    for resample in ("bilinear", "bicubic", "lanczos"):
        array = to_model_input(Image.fromarray(stripes), ImageSpec(16, 16, 1, resample=resample))
        assert np.abs(array[2:-2, 2:-2].astype(int) - 127).max() <= 8, resample


def test_the_set_has_a_smooth_scene_that_no_turn_maps_onto_itself() -> None:
    """The other tests compare with it: a symmetric or flat scene would agree with anything."""
    scene = Image.fromarray(stored("upright.png")).resize((32, 32)).filter(ImageFilter.BoxBlur(1))
    pixels = np.asarray(scene).astype(int)
    for k in (1, 2, 3):
        assert np.abs(pixels - np.rot90(pixels, k)).mean() > 25
    for axis in (0, 1):
        assert np.abs(pixels - np.flip(pixels, axis)).mean() > 25
