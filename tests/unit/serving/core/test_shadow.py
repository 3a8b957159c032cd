"""Shadow traffic: who is mirrored, what is compared, and that it can hold nobody up."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from headway_contract.preprocessing import DecodeLimits, encode_png
from headway_serving.core.admission import Admission, Priority
from headway_serving.core.catalog import Catalog
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.requests import ClassifyRequest, Deadline, Progress, SharedWork
from headway_serving.core.rollout_state import Shadow
from headway_serving.core.routing import Candidate, ModelRoutes, Pin, Route, RouteTable
from headway_serving.core.shadow import Comparison, ShadowMirror
from tests.fakes.scripted_models import Fault, ScriptedVersion, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor
from tests.support.waiting import eventually


class Counted:
    def __init__(self) -> None:
        self.comparisons: list[Comparison] = []
        self.others: Counter[str] = Counter()

    def compared(self, model: str, version: int, comparisons: list[Comparison]) -> None:
        assert (model, version) == ("digits", 2)
        self.comparisons += comparisons

    def not_compared(self, model: str, version: int, outcome: str, pictures: int) -> None:
        assert (model, version) == ("digits", 2)
        self.others[outcome] += pictures

    @property
    def total(self) -> int:
        return len(self.comparisons) + self.others.total()


class Mirrored:
    """A classifier whose version 1 is stable and whose version 2 is the shadow."""

    def __init__(self, shadow: ScriptedVersion, share: float = 1.0, **mirror: object) -> None:
        self.server = FakePredictor({"digits": {1: scripted_version(), 2: shadow}})
        self.counted = Counted()
        self.gate = threading.Event()
        self.gate.set()
        self.draws: Iterator[float] = iter([0.5] * 10_000)
        admission = Admission()
        routes = ModelRoutes(stable=1, shadow=Shadow(2, share), labels={"same": 1})
        self.table = RouteTable({"digits": routes})
        self.classifier = Classifier(lambda: self.table, Catalog(self.server), self.server, DecodeLimits(), admission)

        def classify(request: ClassifyRequest, route: Route, shared: SharedWork) -> Classification:
            assert self.gate.wait(20)
            return self.classifier.classify_by(request, route, shared)

        self.mirror = ShadowMirror(classify, admission, self.counted, draw=lambda: next(self.draws), **mirror)  # type: ignore[arg-type]
        self.classifier = replace(self.classifier, mirror=self.mirror.offer)

    def ask(self, *digits: int, pin: Pin | None = None) -> Classification:
        images = [encode_png(np.full((28, 28, 1), digit, np.uint8)) for digit in digits]
        request = ClassifyRequest("digits", images, pin or Pin(), "key", Deadline(30.0))
        return self.classifier.classify(request, Progress())

    def wait_for(self, pictures: int) -> None:
        eventually(lambda: self.counted.total == pictures, f"{pictures} pictures are accounted for")


def test_agreement_is_counted_picture_by_picture() -> None:
    mirrored = Mirrored(scripted_version())
    mirrored.ask(3, 1)
    mirrored.wait_for(2)
    assert mirrored.counted.comparisons == [Comparison("3", "3", 0.0), Comparison("1", "1", 0.0)]


def test_a_changed_label_is_named_and_the_shift_of_its_score_told() -> None:
    # The same scores, whose columns mean other classes.
    mirrored = Mirrored(scripted_version(labels=("0", "1", "2", "4", "3")))
    mirrored.ask(3, 1)
    mirrored.wait_for(2)
    flipped, same = mirrored.counted.comparisons
    assert (flipped.stable_label, flipped.shadow_label) == ("3", "4")
    assert flipped.score_shift == pytest.approx(0.875)
    assert same == Comparison("1", "1", 0.0)


def test_classes_that_the_shadow_does_not_have_have_no_shift() -> None:
    mirrored = Mirrored(scripted_version(labels=("a", "b", "c", "d", "e")))
    mirrored.ask(3)
    mirrored.wait_for(1)
    assert mirrored.counted.comparisons == [Comparison("3", "d", None)]


@pytest.mark.parametrize("fault", [Fault.REFUSES, Fault.NOT_A_NUMBER, Fault.HANGS])
def test_a_failing_shadow_is_counted_and_nobody_notices(fault: Fault) -> None:
    mirrored = Mirrored(scripted_version(fault=fault))
    assert mirrored.ask(3).route.version == 1
    mirrored.wait_for(1)
    assert mirrored.counted.others == {"error": 1}


def test_the_share_decides_who_is_mirrored() -> None:
    mirrored = Mirrored(scripted_version(), share=0.3)
    mirrored.draws = iter([0.29, 0.3, 0.9, 0.0])
    for digit in (0, 1, 2, 3):
        mirrored.ask(digit)
    mirrored.wait_for(2)
    assert [each.stable_label for each in mirrored.counted.comparisons] == ["0", "3"]


@pytest.mark.parametrize("pin", [Pin(version=1), Pin(version=2), Pin(label="same")])
def test_who_asks_for_a_version_is_not_mirrored(pin: Pin) -> None:
    mirrored = Mirrored(scripted_version())
    mirrored.ask(3, pin=pin)
    mirrored.ask(1)
    mirrored.wait_for(1)
    assert mirrored.counted.comparisons[0].stable_label == "1"


def test_the_candidates_own_answers_are_not_mirrored() -> None:
    mirrored = Mirrored(scripted_version())
    routes = mirrored.table.models["digits"]
    mirrored.table = RouteTable({"digits": replace(routes, candidate=Candidate(2, 1.0))})
    assert mirrored.ask(3).route.version == 2
    mirrored.table = RouteTable({"digits": routes})
    mirrored.ask(1)
    mirrored.wait_for(1)
    assert mirrored.counted.comparisons[0].stable_label == "1"


def test_a_slow_shadow_delays_nobody_and_what_does_not_fit_is_dropped() -> None:
    mirrored = Mirrored(scripted_version(), max_copies=2)
    mirrored.gate.clear()
    for _ in range(10):
        assert mirrored.ask(3).route.version == 1
    # One in hand, two waiting.
    eventually(lambda: mirrored.counted.others["dropped"] >= 7, "the others are dropped")
    mirrored.gate.set()
    mirrored.wait_for(10)
    assert 2 <= len(mirrored.counted.comparisons) <= 3


def test_the_pictures_that_wait_are_bounded_in_bytes_too() -> None:
    mirrored = Mirrored(scripted_version(), max_bytes=10)
    mirrored.ask(3)
    mirrored.wait_for(1)
    assert mirrored.counted.others == {"dropped": 1}


def test_a_busy_gateway_drops_shadows_first() -> None:
    mirrored = Mirrored(scripted_version())
    mirrored.gate.clear()
    busy = Admission()
    mirrored.mirror._admission = busy
    with ExitStack() as stack:
        for _ in range(48):
            stack.enter_context(busy.admitted(Priority.STABLE, "digits", 1, lambda: 5.0))
        mirrored.gate.set()
        mirrored.ask(3)
        mirrored.wait_for(1)
    assert mirrored.counted.others == {"dropped": 1}
