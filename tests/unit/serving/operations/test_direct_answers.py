"""A first version answers its golden samples at every model server before any gateway routes it."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from headway_contract.model_manifest import GoldenSample, ModelManifest
from headway_serving.operations.direct_answers import check_direct_answers
from headway_serving.operations.verification import VerificationFailed
from tests.fakes.scripted_models import Fault, scripted_manifest, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor


def black() -> bytes:
    """A picture whose first pixel is 0, for which a scripted version answers its first class."""
    stream = io.BytesIO()
    Image.new("L", (28, 28), 0).save(stream, "PNG")
    return stream.getvalue()


def described(scores: tuple[float, ...]) -> ModelManifest:
    return replace(scripted_manifest(), golden=(GoldenSample(black(), "0", scores),))


def server(fault: Fault | None = None) -> FakePredictor:
    return FakePredictor({"digits": {2: scripted_version(fault=fault)}})


RIGHT = (0.9, 0.025, 0.025, 0.025, 0.025)


def test_the_scores_of_the_export_pass_at_every_server() -> None:
    servers = {"a": server(), "b": server()}
    check_direct_answers(servers, described(RIGHT), 2)
    assert all(len(each.predicted) == 1 for each in servers.values())


@pytest.mark.parametrize(
    ("fault", "scores"),
    [(None, (0.025, 0.9, 0.025, 0.025, 0.025)), (Fault.NOT_A_NUMBER, RIGHT), (Fault.REFUSES, RIGHT)],
    ids=["another model", "no numbers", "an error"],
)
def test_other_answers_are_refused_with_the_server(fault: Fault | None, scores: tuple[float, ...]) -> None:
    with pytest.raises(VerificationFailed, match="golden sample 0 of 1 at model server b"):
        check_direct_answers({"b": server(fault)}, described(scores), 2)
