"""Two versions are asked the same pictures: what is counted, what is refused, and what is not held against anybody."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import httpx
import numpy as np
import pytest

from headway_contract.labelled_pictures import TEST_PICTURES_FILE, LabelledPicture, labelled_pictures_file
from headway_contract.model_manifest import Accuracy, GoldenSample, ModelManifest
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.core.rollout.paired import paired_p
from headway_serving.operations.answer_comparison import (
    ALPHA,
    Comparison,
    Interview,
    Questions,
    Side,
    accuracies_text,
    check_claim,
    check_comparison,
    compare_manifests,
    questions,
)
from headway_serving.operations.verification import VerificationFailed
from tests.fakes.scripted_models import scripted_manifest

LABELS = ("a", "b", "c")


def side(version: int, right: int = 838, of: int = 1000, labels: tuple[str, ...] = LABELS) -> Side:
    value = right / of
    told = Accuracy(value, value, value, of)
    return Side(version, replace(scripted_manifest(labels=labels), test_accuracy=told))


def refused(stable: Side, candidate: Side) -> bool:
    try:
        compare_manifests(stable, candidate, accepted=False)
    except VerificationFailed:
        return True
    return False


def test_manifests_that_prove_the_candidate_less_accurate_refuse_it_with_both_figures() -> None:
    with pytest.raises(VerificationFailed) as caught:
        compare_manifests(side(1), side(2, 779), accepted=False)
    for part in (
        "stable version 1 83.80% (81.4% to 86.0%, 1000 pictures)", "candidate version 2 77.90% (75.2% to 80.4%",
        "p = 0.00048", "--accept-lower-accuracy",
    ):  # fmt: skip
        assert part in str(caught.value)
    compare_manifests(side(1), side(2, 779), accepted=True)


def test_what_may_be_chance_or_is_another_task_refuses_nobody() -> None:
    assert not refused(side(1), side(2, 800))
    assert not refused(side(1), side(2, 1000))
    assert not refused(side(1, 84, 100), side(2, 78, 100))
    assert not refused(side(1), side(2, 500, labels=("a", "b", "c", "d"))), "a test with a class more is another task"
    assert refused(side(1), side(2, 500, labels=("c", "b", "a"))), "another order is the same task"
    strange = Side(2, replace(scripted_manifest(labels=LABELS), test_accuracy=Accuracy(7.5, 0, 0, -3)))
    assert not refused(side(1), strange)
    assert "candidate version 2 unknown" in accuracies_text(side(1), strange)


def test_a_manifest_that_its_own_test_pictures_disprove_is_refused() -> None:
    """Where stable stores no pictures, and nothing else could show it before traffic."""
    found = Comparison(there=500, source="s", fair=False, compared=500, candidate_right=340)
    with pytest.raises(VerificationFailed, match=r"says 96.6% of 500 test pictures, which these disprove"):
        check_claim(found, side(2, 483, 500), accepted=False)
    check_claim(found, side(2, 483, 500), accepted=True)
    check_claim(found, side(2, 350, 500), accepted=False)
    check_claim(replace(found, compared=0), side(2, 483, 500), accepted=False)
    check_claim(replace(found, fair=True), side(2, 483, 500), accepted=False)


PICTURES = tuple(LabelledPicture(f"picture {number}".encode(), LABELS[number % 3]) for number in range(50))
Respond = Callable[[int, list[bytes]], httpx.Response]


def answers(labels: list[str | None]) -> httpx.Response:
    results: list[object] = [
        {"problem": {}} if label is None else {"predictions": [{"label": label, "score": 1}]} for label in labels
    ]
    return httpx.Response(200, text=json.dumps({"results": results}))


def truth(image: bytes) -> str:
    return LABELS[int(image.split()[1]) % 3]


class Clock:
    def __init__(self) -> None:
        self.now, self.reports = 0.0, list[tuple[int, int]]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def compared(respond: Respond, clock: Clock | None = None) -> Comparison:
    clock = clock or Clock()

    def handle(request: httpx.Request) -> httpx.Response:
        version = int(request.url.path.removesuffix(":classify").rpartition("/")[2])
        return respond(version, [base64.b64decode(each["b64"]) for each in json.loads(request.content)["images"]])

    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        report = lambda *counts: clock.reports.append(counts)  # noqa: E731
        interview = Interview("http://gateway", http, report, clock=clock, sleep=clock.sleep)
        return interview.compare(Questions(PICTURES, "all"), side(1), side(2))


def test_answers_are_compared_with_each_other_and_with_the_truth() -> None:
    def respond(version: int, images: list[bytes]) -> httpx.Response:
        swapped = {"a": "b", "b": "a", "c": "c"}
        right = [truth(image) for image in images]
        return answers([*right] if version == 1 else [swapped[label] for label in right])

    found = compared(respond)
    assert (found.compared, found.disagreed, found.stable_right, found.candidate_right) == (50, 34, 50, 16)
    assert (found.stable_alone, found.candidate_alone, found.p) == (34, 0, 2.0**-34)
    with pytest.raises(VerificationFailed) as caught:
        check_comparison(found, accepted=False)
    for part in ("stable has 50 right (100.0%), 34 of them alone", "candidate 16 (32.0%), 0 of them alone", "5.8e-11"):
        assert part in str(caught.value)
    check_comparison(found, accepted=True)
    check_comparison(replace(found, fair=False), accepted=False)


def test_a_gateway_that_takes_fewer_pictures_or_is_busy_for_a_while_is_asked_again() -> None:
    clock, seen = Clock(), list[int]()

    def respond(version: int, images: list[bytes]) -> httpx.Response:
        seen.append(len(images))
        clock.now += 0.09
        if len(images) > 4:
            return httpx.Response(413)
        return httpx.Response(429) if len(seen) == 9 else answers([truth(image) for image in images])

    found = compared(respond, clock)
    assert (found.compared, found.disagreed, found.note) == (50, 0, "")
    assert seen.count(8) == 1, "what was refused once is not tried again"
    assert max(seen) == 8
    assert clock.reports, "it is told how far it is"


def test_time_is_bounded_and_what_was_asked_until_then_counts() -> None:
    clock = Clock()

    def respond(version: int, images: list[bytes]) -> httpx.Response:
        clock.now += 13
        return answers([truth(image) for image in images])

    found = compared(respond, clock)
    assert (found.compared, found.there) == (2, 50)
    assert "the time of 60 s was over" in found.text()
    assert clock.now < 60 + 2 * 15


def test_a_slow_model_gets_one_picture_at_a_time_and_time_for_its_users() -> None:
    clock, sizes = Clock(), set[int]()

    def respond(version: int, images: list[bytes]) -> httpx.Response:
        sizes.add(len(images))
        clock.now += 0.3 * version * len(images)
        return answers([truth(image) for image in images])

    found = compared(respond, clock)
    assert sizes == {1}
    assert 30 < found.compared < 50


def test_a_stable_that_is_silent_does_not_keep_its_remedy_out() -> None:
    found = compared(lambda version, _: httpx.Response(500 if version == 1 else 200, json={}))
    assert found.compared == 0
    assert "stable does not answer at http://gateway: 500" in found.text()
    check_comparison(found, accepted=False)


@pytest.mark.parametrize(
    "answer", [httpx.Response(500, text="broken"), httpx.Response(200, text="<html>"), answers(["a"])]
)
def test_a_candidate_that_does_not_answer_is_refused(answer: httpx.Response) -> None:
    with pytest.raises(VerificationFailed, match="comparison: the candidate at http://gateway"):
        compared(lambda version, images: answer if version == 2 else answers([truth(image) for image in images]))


def test_pictures_that_cannot_be_read_say_nothing() -> None:
    found = compared(lambda _, images: answers([None if b"7" in image else truth(image) for image in images]))
    assert (found.compared, found.stable_right) == (45, 45)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path)


def publish(repository: ModelRepository, manifest: ModelManifest, *pictures: LabelledPicture) -> Side:
    with repository.staging("digits") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        (staged / MANIFEST_FILE).write_text(manifest.to_json())
        if pictures:
            (staged / TEST_PICTURES_FILE).write_bytes(labelled_pictures_file(pictures))
        return Side(repository.publish("digits", staged), manifest)


def manifest(labels: tuple[str, ...] = LABELS, data: str = "sha256:1") -> ModelManifest:
    made = scripted_manifest(labels=labels)
    golden = tuple(GoldenSample(f"golden {label}".encode(), label, (0.0,) * len(labels)) for label in labels)
    return replace(made, golden=golden, base=None, kind="base", provenance=replace(made.provenance, data_digest=data))


def test_stables_golden_samples_and_test_pictures_are_asked_once_each(repository: ModelRepository) -> None:
    stored = LabelledPicture(b"golden a", "a"), LabelledPicture(b"one", "b"), LabelledPicture(b"two", "c")
    stable = publish(repository, manifest(), *stored)
    candidate = publish(repository, manifest(("a", "b")), LabelledPicture(b"other", "a"))
    found = questions(repository, stable, candidate)
    # What is truly "c" the candidate cannot know.
    assert {each.image for each in found.pictures} == {b"golden a", b"golden b", b"one"}
    assert (found.source, found.fair) == ("stable's golden samples and test pictures", True)


@pytest.mark.parametrize(("data", "fair"), [("sha256:1", True), ("sha256:2", False)])
def test_the_candidates_pictures_judge_only_where_both_had_the_same_splits(
    repository: ModelRepository, data: str, fair: bool
) -> None:
    stable, candidate = (
        publish(repository, manifest()),
        publish(repository, manifest(data=data), LabelledPicture(b"n", "a")),
    )
    found = questions(repository, stable, candidate)
    assert len(found.pictures) == 4
    assert found.fair == fair


def test_without_test_pictures_it_is_said(repository: ModelRepository) -> None:
    stable, candidate = publish(repository, manifest()), publish(repository, manifest())
    assert questions(repository, stable, candidate).source == (
        "stable's golden samples; no test pictures are stored with either version"
    )
    other = publish(repository, manifest(("x", "y")))
    assert questions(repository, stable, other).pictures == ()


@pytest.mark.parametrize(("accuracy", "alike"), [(0.6, 0.0), (0.84, 0.5), (0.98, 0.9)])
def test_equal_versions_are_refused_no_oftener_than_alpha(accuracy: float, alike: float) -> None:
    """20,000 pairs and both tests: 1,000 test pictures, 500 of them stored, a share ``alike`` decided by one lot."""
    draw, pairs, wrongly = np.random.default_rng(7), 20_000, 0
    by_manifest = lru_cache(None)(lambda one, other: refused(side(1, one), side(2, other)))
    by_pictures = lru_cache(None)(lambda one, other: paired_p(one, other) <= ALPHA / 2)
    for _ in range(pairs):
        stable, candidate = draw.random((2, 1000), dtype=np.float32) < accuracy
        candidate = np.where(draw.random(1000, dtype=np.float32) < alike, stable, candidate)
        alone = [int((one[:500] & ~other[:500]).sum()) for one, other in ((stable, candidate), (candidate, stable))]
        wrongly += by_pictures(*alone) or by_manifest(int(stable.sum()), int(candidate.sum()))
    assert wrongly / pairs <= ALPHA
