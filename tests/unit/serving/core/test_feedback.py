"""What is counted of feedback, by which labels, and what is not."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

import pytest

from headway_serving.core.catalog import Catalog
from headway_serving.core.errors import ModelNotFound
from headway_serving.core.feedback import Feedback, FeedbackDesk
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Pin, Route, RouteTable
from tests.fakes.scripted_models import scripted_version
from tests.fakes.tfserving_predictor import FakePredictor

TABLE = RouteTable({"digits": ModelRoutes(1, Candidate(2, 0.5))})
GOOD = Feedback("a-1", 1, Arm.STABLE, "3", "3")


class Counted:
    """Counts in memory, by version, arm and outcome."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, str, bool]] = Counter()
        self.positions: list[float | None] = []

    def count_feedback(self, route: Route, stage: Hashable, *, right: bool) -> None:
        self.counts[route.version, route.arm.value, right] += 1
        self.positions.append(route.position)
        assert stage == TABLE.of("digits").sampling


@pytest.fixture
def server() -> FakePredictor:
    return FakePredictor({"digits": {number: scripted_version() for number in (1, 2, 3)}})


@pytest.fixture
def catalog(server: FakePredictor) -> Catalog:
    return Catalog(server)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def desk(catalog: Catalog, counted: Counted) -> FeedbackDesk:
    return FeedbackDesk(lambda: TABLE, catalog, counted, remembered=3)


def test_right_and_wrong_are_counted_by_version_and_arm(desk: FeedbackDesk, counted: Counted) -> None:
    tally = desk.take(
        "digits",
        [
            GOOD,
            replace(GOOD, request_id="a-2", truth="4"),
            replace(GOOD, request_id="a-3", version=2, arm=Arm.CANDIDATE, truth="seven"),
        ],
    )
    assert (tally.right, tally.wrong, tally.duplicates, tally.ignored) == (1, 2, 0, ())
    assert counted.counts == {(1, "stable", True): 1, (1, "stable", False): 1, (2, "candidate", False): 1}


def test_where_the_key_stood_is_counted_as_the_answer_said_it(desk: FeedbackDesk, counted: Counted) -> None:
    desk.take("digits", [replace(GOOD, key_position=0.75), replace(GOOD, request_id="a-2")])
    assert counted.positions == [0.75, None]


def test_a_picture_of_a_request_counts_once(desk: FeedbackDesk, counted: Counted) -> None:
    desk.take("digits", [GOOD])
    tally = desk.take("digits", [GOOD, replace(GOOD, truth="4"), replace(GOOD, index=1)])
    assert (tally.right, tally.wrong, tally.duplicates) == (1, 0, 2)
    assert counted.counts.total() == 2


def test_only_the_newest_are_remembered(desk: FeedbackDesk) -> None:
    desk.take("digits", [replace(GOOD, request_id=f"a-{number}") for number in range(4)])
    assert desk.take("digits", [replace(GOOD, request_id="a-3")]).duplicates == 1
    assert desk.take("digits", [replace(GOOD, request_id="a-0")]).duplicates == 0


def test_what_was_ignored_may_be_sent_again(desk: FeedbackDesk) -> None:
    assert len(desk.take("digits", [replace(GOOD, label="x")]).ignored) == 1
    assert desk.take("digits", [GOOD]).right == 1


def test_a_version_or_label_that_did_not_answer_is_ignored_with_the_reason(
    desk: FeedbackDesk, counted: Counted
) -> None:
    tally = desk.take("digits", [GOOD, replace(GOOD, version=77), replace(GOOD, request_id="b", label="seven")])
    assert tally.right == 1
    assert [(each.position, each.error.code) for each in tally.ignored] == [
        (1, "version_not_found"),
        (2, "invalid_request"),
    ]
    assert "version 77 of digits is not routed" in str(tally.ignored[0].error)
    assert "has no label 'seven'" in str(tally.ignored[1].error)
    assert set(counted.counts) == {(1, "stable", True)}


def test_the_arm_of_a_version_that_is_not_routed_is_not_believed(
    desk: FeedbackDesk, catalog: Catalog, counted: Counted
) -> None:
    catalog.manifest(TABLE.choose("digits", Pin(3), ""), 1.0)
    assert desk.take("digits", [replace(GOOD, version=3)]).right == 1
    assert counted.counts == {(3, "pinned", True): 1}


def test_a_routed_version_whose_manifest_cannot_be_read_is_told_so(desk: FeedbackDesk, server: FakePredictor) -> None:
    server.away = True
    (ignored,) = desk.take("digits", [GOOD]).ignored
    assert ignored.error.code == "model_unavailable"
    server.away = False
    assert desk.take("digits", [GOOD]).right == 1


def test_a_model_that_is_not_routed_is_not_found(desk: FeedbackDesk) -> None:
    with pytest.raises(ModelNotFound):
        desk.take("letters", [GOOD])
