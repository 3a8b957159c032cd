"""The straight line of serving over a model server in memory."""

import weakref
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage, UnsupportedImage
from headway_contract.preprocessing import DecodeLimits, ImageSpec, decode_image, encode_png
from headway_serving.core import pictures
from headway_serving.core.admission import Admission
from headway_serving.core.catalog import Catalog
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    LabelNotFound,
    ModelNotFound,
    PredictionFailed,
)
from headway_serving.core.ranking import Prediction
from headway_serving.core.requests import ClassifyRequest, Deadline, Progress
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Pin, Route, RouteTable
from tests.fakes.scripted_models import Fault, ScriptedVersion, scripted_manifest, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor

SMALL = ImageSpec(height=4, width=4, channels=1)
COLOUR = ImageSpec(height=6, width=5, channels=3)
TEXT = b"this is a text file"


def picture(digit: int, side: int = 28) -> bytes:
    """A picture that the scripted models take for ``digit``."""
    return encode_png(np.full((side, side, 1), digit, np.uint8))


@pytest.fixture
def server() -> FakePredictor:
    """Version 1 sees 4 x 4 gray pixels, 2 sees 6 x 5 colours, 3 has fewer scores than labels, 4 scores NaN."""
    three_scores = ScriptedVersion(scripted_manifest(image=SMALL).to_json().encode(), classes=3)
    return FakePredictor(
        {
            "digits": {
                1: scripted_version(image=SMALL),
                2: scripted_version(image=COLOUR),
                3: three_scores,
                4: scripted_version(image=SMALL, fault=Fault.NOT_A_NUMBER),
            }
        }
    )


Classify = Callable[..., Classification]


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def classify(server: FakePredictor, progress: Progress) -> Classify:
    table = RouteTable({"digits": ModelRoutes(stable=1, candidate=Candidate(2, 0.0))})
    classifier = Classifier(lambda: table, Catalog(server), server, DecodeLimits(max_pixels=10_000), Admission(8))

    def classify(
        *images: bytes, model: str = "digits", pin: Pin | None = None, seconds: float = 30.0, top_k: int = 5
    ) -> Classification:
        request = ClassifyRequest(model, images, pin or Pin(), "key", Deadline(seconds), top_k)
        return classifier.classify(request, progress)

    return classify


def test_each_picture_gets_its_predictions_in_order(classify: Classify) -> None:
    answer = classify(picture(3), picture(1), top_k=1)
    assert answer.route == Route("digits", 1, Arm.STABLE, "weight")
    nine_tenths = float(np.float32(0.9))
    assert answer.results == ((Prediction("3", nine_tenths),), (Prediction("1", nine_tenths),))


def test_many_pictures_are_one_predict(classify: Classify, server: FakePredictor) -> None:
    classify(*[picture(digit) for digit in range(5)])
    assert [pixels.shape for _, pixels in server.predicted] == [(5, 4, 4, 1)]


def test_the_pixels_have_the_geometry_of_the_version_that_answers(classify: Classify, server: FakePredictor) -> None:
    for version in (1, 2):
        classify(picture(0), pin=Pin(version=version))
    assert [pixels.shape[1:] for _, pixels in server.predicted] == [(4, 4, 1), (6, 5, 3)]


def test_the_way_of_a_request_is_noted(classify: Classify, progress: Progress) -> None:
    classify(picture(0))
    assert progress.route == Route("digits", 1, Arm.STABLE, "weight")
    assert list(progress.stages.seconds) == ["manifest", "decode", "preprocess", "predict", "rank"]


def test_an_unknown_model_is_told_before_a_bad_picture(classify: Classify) -> None:
    with pytest.raises(ModelNotFound):
        classify(TEXT, model="letters")


def test_a_bad_picture_blames_no_version_and_reaches_no_model(
    classify: Classify, server: FakePredictor, progress: Progress
) -> None:
    with pytest.raises(InvalidImage):
        classify(TEXT)
    assert progress.route is None
    assert server.predicted == []


def test_one_picture_is_decoded_at_a_time(classify: Classify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four large pictures in one request must not stand in memory together."""
    held: list[weakref.ref[Image.Image]] = []
    most = 0

    def decode(data: bytes, limits: DecodeLimits) -> Image.Image:
        nonlocal most
        decoded = decode_image(data, limits)
        held.append(weakref.ref(decoded))
        most = max(most, sum(reference() is not None for reference in held))
        return decoded

    monkeypatch.setattr(pictures, "decode_image", decode)
    classify(*[picture(shade) for shade in range(8)])
    assert len(held) == 8
    assert most <= 2, "the one being decoded and the one before it"


def test_an_unknown_label_reaches_no_model_server(classify: Classify, server: FakePredictor) -> None:
    with pytest.raises(LabelNotFound):
        classify(picture(0), pin=Pin(label="nightly"))
    assert server.described == []


def test_a_bad_picture_among_several_spoils_none_of_the_others(classify: Classify, server: FakePredictor) -> None:
    answer = classify(picture(0), TEXT, picture(1), top_k=1)
    first, bad, last = answer.results
    assert isinstance(bad, UnsupportedImage)
    assert not isinstance(first, InvalidImage)
    assert not isinstance(last, InvalidImage)
    assert (first[0].label, last[0].label) == ("0", "1")
    assert [pixels.shape[0] for _, pixels in server.predicted] == [2]


def test_several_bad_pictures_reach_no_model(classify: Classify, server: FakePredictor) -> None:
    assert all(isinstance(each, UnsupportedImage) for each in classify(TEXT, TEXT).results)
    assert server.predicted == []


def test_a_single_bad_picture_is_the_answer(classify: Classify) -> None:
    with pytest.raises(InvalidImage, match=r"^the bytes are not a picture"):
        classify(TEXT)


@pytest.mark.parametrize("manifest_is_known", [False, True])
def test_a_spent_deadline_reaches_no_model_server(
    classify: Classify, server: FakePredictor, *, manifest_is_known: bool
) -> None:
    if manifest_is_known:
        classify(picture(0))
    asked = len(server.predicted), len(server.described)
    with pytest.raises(DeadlineExceeded, match="within the request's 0 s"):
        classify(picture(0), seconds=0.0)
    assert (len(server.predicted), len(server.described)) == asked


def test_scores_that_do_not_fit_the_labels_are_refused(classify: Classify) -> None:
    with pytest.raises(IncompatibleModel, match="digits version 3: 3 scores for 5 labels"):
        classify(picture(0), pin=Pin(version=3))


def test_scores_that_are_no_numbers_are_a_failed_prediction(classify: Classify) -> None:
    """A model of broken weights must count as failing, not as sure of nothing."""
    with pytest.raises(PredictionFailed, match="digits version 4 answered scores that are not finite numbers"):
        classify(picture(0), pin=Pin(version=4))
