"""The straight line of serving over a model server in memory."""

import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage, UnsupportedImage
from headway_contract.model_manifest import BaseReference
from headway_contract.preprocessing import DecodeLimits, ImageSpec, decode_image, encode_png
from headway_serving.core import pictures
from headway_serving.core.admission import Admission
from headway_serving.core.catalog import Catalog
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    InvalidRequest,
    LabelNotFound,
    ModelNotFound,
    ModelUnavailable,
    PredictionFailed,
)
from headway_serving.core.ranking import Prediction
from headway_serving.core.requests import ClassifyRequest, Deadline, Fallback, Progress, SharedWork
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
    classifier = Classifier(lambda: table, Catalog(server), server, DecodeLimits(max_pixels=10_000), Admission())

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
    assert list(progress.stages.seconds) == ["queue", "manifest", "decode", "preprocess", "predict", "rank"]


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

    def decode(data: bytes, limits: DecodeLimits, spec: ImageSpec) -> Image.Image:
        nonlocal most
        decoded = decode_image(data, limits, spec)
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


def on_trial(server: FakePredictor, weight: float = 1.0) -> Classifier:
    """A classifier whose candidate, version 2, gets every key."""
    table = RouteTable({"digits": ModelRoutes(stable=1, candidate=Candidate(2, weight))})
    return Classifier(lambda: table, Catalog(server), server, DecodeLimits(), Admission())


def ask(classifier: Classifier, progress: Progress, pin: Pin | None = None) -> Classification:
    request = ClassifyRequest("digits", [picture(3)], pin or Pin(), "key", Deadline(30.0), 1)
    return classifier.classify(request, progress)


@pytest.mark.parametrize(
    ("candidate", "code"),
    [
        (scripted_version(fault=Fault.REFUSES), "incompatible_model"),
        (scripted_version(fault=Fault.HANGS), "deadline_exceeded"),
        (scripted_version(fault=Fault.NOT_A_NUMBER), "prediction_failed"),
        (scripted_version(state="LOADING"), "model_unavailable"),
        (ScriptedVersion(b"{}"), "incompatible_model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_candidate_that_fails_is_replaced_by_the_stable_version(
    candidate: ScriptedVersion, code: str, progress: Progress
) -> None:
    server = FakePredictor({"digits": {1: scripted_version(), 2: candidate}})
    answer = ask(on_trial(server), progress)
    assert answer.route == progress.route == Route("digits", 1, Arm.STABLE, "fallback")
    assert progress.fallback == Fallback(Route("digits", 2, Arm.CANDIDATE, "weight"), code)


def test_a_candidate_gets_half_of_the_time_so_that_the_other_half_is_for_the_stable_version(progress: Progress) -> None:
    server = FakePredictor({"digits": {1: scripted_version(), 2: scripted_version(fault=Fault.HANGS)}})
    ask(on_trial(server), progress)
    candidate, *_, stable = server.timeouts
    assert candidate <= 15.0
    assert 15.0 < stable <= 30.0


@pytest.mark.parametrize("pin", [Pin(version=2), Pin(label="candidate")])
def test_a_candidate_that_was_asked_for_is_not_replaced(pin: Pin, progress: Progress) -> None:
    server = FakePredictor({"digits": {1: scripted_version(), 2: scripted_version(fault=Fault.NOT_A_NUMBER)}})
    with pytest.raises(PredictionFailed):
        ask(on_trial(server), progress, pin)
    assert progress.fallback is None


def test_a_bad_picture_is_not_tried_on_the_stable_version_too(progress: Progress) -> None:
    server = FakePredictor({"digits": {1: scripted_version(), 2: scripted_version()}})
    request = ClassifyRequest("digits", [TEXT], Pin(), "key", Deadline(30.0))
    with pytest.raises(UnsupportedImage):
        on_trial(server).classify(request, progress)
    assert progress.fallback is None
    assert {route.version for route in server.described} == {2}


def head_on(base: str) -> ScriptedVersion:
    manifest = replace(scripted_manifest(), form="on_base", base=BaseReference(base, 4, "sha256:2"))
    return ScriptedVersion(manifest.to_json().encode())


def test_a_head_is_run_on_the_features_of_its_base_and_shares_them() -> None:
    server = FakePredictor(
        {"digits": {1: head_on("eyes")}, "more": {1: head_on("eyes")}, "eyes": {4: scripted_version()}}
    )
    table = RouteTable({"digits": ModelRoutes(stable=1), "more": ModelRoutes(stable=1)})
    classifier = Classifier(lambda: table, Catalog(server), server, DecodeLimits(), Admission())
    shared = SharedWork()
    for model in ("digits", "more"):
        request = ClassifyRequest(model, [picture(3), picture(1)], Pin(), "key", Deadline(30.0), 1)
        answer = classifier.classify(request, Progress(), shared)
        assert [result[0].label for result in answer.results if not isinstance(result, InvalidImage)] == ["3", "1"]
    asked = [(route.model, route.version, rows.shape[1:]) for route, rows in server.predicted]
    assert asked == [("eyes", 4, (28, 28, 1)), ("digits", 1, (3,)), ("more", 1, (3,))]


def test_a_missing_base_is_unavailable_also_for_a_pinned_head() -> None:
    server = FakePredictor({"digits": {1: head_on("eyes")}})
    table = RouteTable({"digits": ModelRoutes(stable=1)})
    classifier = Classifier(lambda: table, Catalog(server), server, DecodeLimits(), Admission())
    with pytest.raises(ModelUnavailable, match="version 4 of model 'eyes'"):
        ask(classifier, Progress(), Pin(version=1))


def test_pixels_are_taken_as_they_are_in_the_models_own_geometry(classify: Classify, server: FakePredictor) -> None:
    table = RouteTable({"digits": ModelRoutes(stable=1)})
    classifier = Classifier(lambda: table, Catalog(server), server, DecodeLimits(), Admission())
    pixels = np.full((2, 4, 4, 1), 3, np.uint8)
    request = ClassifyRequest("digits", (), Pin(), "key", Deadline(30.0), 1, pixels=pixels)
    assert len(classifier.classify(request, Progress()).scores) == 2
    wrong = replace(request, pixels=np.zeros((1, 28, 28, 1), np.uint8))
    with pytest.raises(InvalidRequest, match=r"shape \[1, 28, 28, 1\]; digits .*takes \[N, 4, 4, 1\]"):
        classifier.classify(wrong, Progress())
