"""Which test pictures travel with a version: golden samples in its manifest, and a sample of the split beside it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_contract.labelled_pictures import MOST_BYTES, MOST_PICTURES, LabelledPicture, labelled_pictures_file
from headway_contract.model_manifest import GoldenSample
from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training import datasets
from headway_training.inference import infer

_GOLDEN_SAMPLES = 10
_MOST_GOLDEN = 50
_GOLDEN_BYTES = 32_768  # the manifest travels to every gateway: larger pictures are stored smaller
_GOLDEN_SIDE = 384
_TEST_PICTURES_SEED = 1  # not the recipe's: versions with one test split store the same pictures


def golden_samples(
    splits: datasets.Splits, image: ImageSpec, base: Any, head: Any, test_scores: NDArray[np.float32]
) -> tuple[GoldenSample, ...]:
    """Test pictures with the scores they must get; ``test_scores``: ``float32[N, K]`` of the whole test split."""
    chosen = golden_rows(splits.test.labels, len(splits.classes))
    originals = [splits.test.pictures.encoded(index) for index in chosen]
    encoded = [_storable(picture) for picture in originals]
    scores = test_scores[chosen]
    # A picture that was stored smaller has other pixels than the test split's, and so other scores.
    smaller = [place for place, picture in enumerate(encoded) if picture is not originals[place]]
    if smaller:
        pixels = np.stack([as_asked(encoded[place], image) for place in smaller])
        scores[smaller] = infer(head, infer(base, pixels))
    return tuple(
        GoldenSample(image=picture, label=splits.classes[splits.test.labels[index]], scores=tuple(map(_written, row)))
        for picture, index, row in zip(encoded, chosen, scores, strict=True)
    )


def golden_rows(labels: NDArray[np.int32], classes: int) -> list[int]:
    """The first test pictures of every class in turn, so that few samples show every class.

    Of many classes some, spread evenly: each sample has a score for every class, and their number must not grow too.
    """
    shown = np.unique(np.linspace(0, classes - 1, min(classes, _MOST_GOLDEN)).round().astype(int))
    members = [np.flatnonzero(labels == index) for index in shown]
    chosen = [int(group[rank]) for rank in range(_GOLDEN_SAMPLES) for group in members if rank < len(group)]
    return chosen[: max(_GOLDEN_SAMPLES, len(shown))]


def _written(score: np.float32) -> float:
    """A score in as many digits as a float32 has: as many again would say nothing."""
    return float(f"{score:.8g}")


def stored_test_pictures(splits: datasets.Splits) -> bytes:
    """A random sample of the test split, in random order, as large as is stored: any first part is a sample too."""
    drawn: list[LabelledPicture] = []
    size = 0
    for index in np.random.default_rng(_TEST_PICTURES_SEED).permutation(len(splits.test))[:MOST_PICTURES]:
        picture = _storable(splits.test.pictures.encoded(int(index)))
        size += len(picture)
        if size > MOST_BYTES:
            break
        drawn.append(LabelledPicture(picture, splits.classes[splits.test.labels[index]]))
    return labelled_pictures_file(drawn)


def as_asked(picture: bytes, image: ImageSpec) -> NDArray[np.uint8]:
    """What the gateway would give the model of an encoded picture: ``uint8[H, W, C]``."""
    return to_model_input(decode_image(picture, spec=image), image)


def _storable(encoded: bytes) -> bytes:
    """The picture itself where it is small, so that a host with another resize is found out; else a smaller JPEG."""
    if len(encoded) <= _GOLDEN_BYTES:
        return encoded
    picture = decode_image(encoded)
    picture.thumbnail((_GOLDEN_SIDE, _GOLDEN_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
