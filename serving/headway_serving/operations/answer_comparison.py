"""Whether the candidate is less accurate than stable, found out before it meets any traffic.

Two kinds of evidence. What the manifests say of their own tests is compared by an exact test on two shares. And both
versions are asked the same pictures, pinned, through a gateway: stable's golden samples and the test pictures that it
stores. Their answers are compared with each other, and with the truth by an exact paired test.

A candidate that is as accurate as stable is refused with a probability of at most :data:`ALPHA`: each of the two tests
gets half of it.
"""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import httpx

from headway_contract.errors import InvalidTestPictures
from headway_contract.labelled_pictures import LabelledPicture
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_serving.core.rollout.paired import paired_p, unpaired_p
from headway_serving.core.rollout.proportions import lower_bound, upper_bound
from headway_serving.operations.verification import VerificationFailed

ALPHA = 0.01
"""Probability of refusing, as less accurate, a candidate that is not."""

_BATCH = 16
_SECONDS = 60.0
_REQUEST_SECONDS = 15.0
_PAUSE_SECONDS = 0.5
_QUICK_SECONDS = 0.2
_REPORT_SECONDS = 2.0
_BUSY = frozenset({429, 502, 503, 504})
_FAILED = 502
"""The version answered with an error, or with what is no answer."""

_UNREADABLE = frozenset({400, 415, 422})
_TOO_LARGE = 413
_MEANT = "if that is meant: --accept-lower-accuracy"


@dataclass(frozen=True)
class Side:
    """One of the two versions that are compared."""

    version: int
    manifest: ModelManifest


@dataclass(frozen=True)
class Questions:
    """Pictures that both versions are asked. ``source``: where they come from, for people.

    ``fair``: neither version may have been trained on them, so the truth is a judge.
    """

    pictures: tuple[LabelledPicture, ...]
    source: str
    fair: bool = True


@dataclass(frozen=True)
class Comparison:
    """What both versions answered to the ``compared`` of ``there`` pictures that both labelled.

    ``disagreed``: different best labels. ``stable_right``, ``candidate_right``: the true one; ``stable_alone`` and
    ``candidate_alone``: of those, the pictures that only one of the two labels right. ``p``: of the exact paired test.
    """

    there: int
    source: str
    fair: bool
    compared: int = 0
    disagreed: int = 0
    stable_right: int = 0
    candidate_right: int = 0
    stable_alone: int = 0
    candidate_alone: int = 0
    p: float = 1.0
    note: str = ""
    failed: int = 0
    """Requests that the candidate failed, and that were asked again."""

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def text(self) -> str:
        """For people, one line."""
        if not self.compared:
            return f"no answers of the two versions were compared: {self.note or self.source}"
        asked = f"{self.compared} of {self.there}" if self.compared < self.there else f"{self.compared}"
        return (
            f"{asked} pictures ({self.source}) asked of both: {self.disagreed} labelled differently; stable has "
            f"{self.stable_right} right ({self.stable_right / self.compared:.1%}), {self.stable_alone} of them alone, "
            f"the candidate {self.candidate_right} ({self.candidate_right / self.compared:.1%}), "
            f"{self.candidate_alone} of them alone; exact paired test: p = {self.p:.2g}"
            + (f"; the candidate FAILED {self.failed} requests, which were asked again" if self.failed else "")
            + (f"; {self.note}" if self.note else "")
        )


def accuracies_text(stable: Side, candidate: Side) -> str:
    """What the two manifests say of their tests, with exact 95 % intervals."""
    return f"test accuracy: {_accuracy_text('stable', stable)}; {_accuracy_text('candidate', candidate)}"


def compare_manifests(stable: Side, candidate: Side, *, accepted: bool) -> None:
    """The tests that the manifests tell of must not prove the candidate less accurate, unless that is ``accepted``.

    Where the versions have other classes their tests are not the same task, and prove nothing. Raises
    :class:`VerificationFailed`.
    """
    if accepted or set(stable.manifest.labels) != set(candidate.manifest.labels):
        return
    p = unpaired_p(_right(stable.manifest), _right(candidate.manifest))
    if p <= ALPHA / 2:
        raise VerificationFailed(
            f"accuracy: {accuracies_text(stable, candidate)}: the candidate is less accurate "
            f"(exact test, p = {p:.2g}, at most {ALPHA / 2:g} is proof); {_MEANT}"
        )


def questions(repository: ModelRepository, stable: Side, candidate: Side) -> Questions:
    """The pictures there are whose truth is among the labels of both versions, each of them once."""
    model, source, fair = stable.manifest.model, "stable's golden samples and test pictures", True
    try:
        stored = repository.test_pictures(model, stable.version)
    except InvalidTestPictures as error:
        stored, source = (), f"stable's golden samples; {error}"
    if not stored:
        stored = repository.test_pictures(model, candidate.version)
        if stored:
            source = "stable's golden samples and the candidate's test pictures"
            # With other data or another split, stable may have been trained on what the candidate was tested with.
            fair = stable.manifest.provenance.data_digest == candidate.manifest.provenance.data_digest
        elif "golden samples;" not in source:
            source = "stable's golden samples; no test pictures are stored with either version"
    common = set(stable.manifest.labels) & set(candidate.manifest.labels)
    golden = [LabelledPicture(each.image, each.label) for each in stable.manifest.golden]
    once = {each.image: each for each in (*golden, *stored) if each.label in common}
    return Questions(tuple(once.values()), source, fair)


@dataclass
class Interview:
    """Asks both versions the same pictures through one gateway, at most ``seconds`` long, a few at a time.

    ``report``: gets how many of how many were asked, every two seconds.
    """

    gateway: str
    http: httpx.Client
    report: Callable[[int, int], None]
    seconds: float = _SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    failed: int = field(default=0, init=False)

    def compare(self, asked: Questions, stable: Side, candidate: Side) -> Comparison:
        """Ask and compare. Raises :class:`VerificationFailed` when the candidate does not answer."""
        ends, next_report = self.clock() + self.seconds, self.clock() + _REPORT_SECONDS
        answers: list[tuple[str, str, str]] = []
        note, place, size, most = "", 0, 1, _BATCH
        while place < len(asked.pictures):
            batch, began = asked.pictures[place : place + size], self.clock()
            try:
                pair = [self._labels(stable, batch, ends), self._labels(candidate, batch, ends, on_trial=True)]
            except _TooLarge:
                size = most = max(1, size // 2)
                continue
            except _OutOfTime as error:
                note = f"the time of {self.seconds:g} s was over: {error}"
                break
            except _NoAnswer as error:
                if error.side is candidate:
                    raise VerificationFailed(f"comparison: the candidate at {self.gateway}: {error}") from error
                note = f"stable does not answer at {self.gateway}: {error}"
                break
            both = zip(batch, *pair, strict=True)
            answers += [(each.label, one, other) for each, one, other in both if one is not None and other is not None]
            place += len(batch)
            took = self.clock() - began
            # Users ask the same model: a slow one gets one picture at a time, and half of the time is theirs alone.
            size = min(most, 2 * size) if took < _QUICK_SECONDS else max(1, size // 2)
            self.sleep(min(took, _PAUSE_SECONDS))
            if self.clock() >= next_report:
                self.report(place, len(asked.pictures))
                next_report = self.clock() + _REPORT_SECONDS
        return replace(_counted(asked, answers, note), failed=self.failed)

    def _labels(
        self, side: Side, pictures: Sequence[LabelledPicture], ends: float, *, on_trial: bool = False
    ) -> list[str | None]:
        """The best label of each picture, None where it cannot be read; asked again while the gateway is busy."""
        path = f"{self.gateway}/v1/models/{side.manifest.model}/versions/{side.version}:classify"
        body = {"images": [{"b64": base64.b64encode(each.image).decode("ascii")} for each in pictures]}
        busy = "no answer yet"
        while (left := ends - self.clock()) > 0:
            try:
                answer = self.http.post(path, json=body, params={"top_k": 1}, timeout=min(left, _REQUEST_SECONDS))
            except httpx.TransportError as error:
                busy = repr(error)
            else:
                if answer.status_code not in _BUSY:
                    return _best_labels(answer, side, len(pictures))
                busy = f"{answer.status_code}: {answer.text[:200]}"
                self.failed += on_trial and answer.status_code == _FAILED
            self.sleep(_PAUSE_SECONDS)
        raise _OutOfTime(f"version {side.version}: {busy}")


def check_comparison(found: Comparison, *, accepted: bool) -> None:
    """The truth must not prove the candidate less accurate, unless that is ``accepted``.

    Raises :class:`VerificationFailed`.
    """
    if found.fair and not accepted and found.p <= ALPHA / 2:
        raise VerificationFailed(
            f"accuracy: {found.text()}: the candidate is less accurate (at most {ALPHA / 2:g} is proof); {_MEANT}"
        )


def check_claim(found: Comparison, candidate: Side, *, accepted: bool) -> None:
    """Asked its own test pictures a candidate must be as good as its manifest says, unless that is ``accepted``.

    They are a sample of the test that the manifest tells of. Raises :class:`VerificationFailed`.
    """
    if found.fair or accepted or not found.compared:
        return
    right, of = _right(candidate.manifest)
    p = unpaired_p((right, of), (found.candidate_right, found.compared))
    if p <= ALPHA / 2:
        raise VerificationFailed(
            f"accuracy: {found.text()}: its manifest says {right / of:.1%} of {of} test pictures, which these disprove "
            f"(exact test, p = {p:.2g}, at most {ALPHA / 2:g} is proof); train and export it again, or {_MEANT}"
        )


class _TooLarge(Exception):
    """The gateway takes fewer or smaller pictures in one request."""


class _OutOfTime(Exception):
    """The gateway was away or busy until the end."""


class _NoAnswer(Exception):
    """A version answers nothing that can be compared; asking again would not help."""

    def __init__(self, side: Side, problem: str) -> None:
        super().__init__(problem)
        self.side = side


def _best_labels(answer: httpx.Response, side: Side, count: int) -> list[str | None]:
    if answer.status_code == _TOO_LARGE or (answer.status_code in _UNREADABLE and count > 1):
        if count > 1:
            raise _TooLarge
        return [None]
    if answer.status_code in _UNREADABLE:
        return [None]
    try:
        if answer.status_code != 200:  # HTTP's OK
            raise _NoAnswer(side, f"{answer.status_code}: {answer.text[:200]}")
        results = answer.json()["results"]
        labels = [each["predictions"][0]["label"] if each.get("predictions") else None for each in results]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _NoAnswer(side, f"no answer that can be read: {error!r}") from error
    if len(labels) != count:
        raise _NoAnswer(side, f"{len(labels)} answers to {count} pictures")
    return labels


def _counted(asked: Questions, answers: Sequence[tuple[str, str, str]], note: str) -> Comparison:
    stable = [one == truth for truth, one, _ in answers]
    candidate = [other == truth for truth, _, other in answers]
    stable_alone = sum(one and not other for one, other in zip(stable, candidate, strict=True))
    candidate_alone = sum(other and not one for one, other in zip(stable, candidate, strict=True))
    if not asked.fair and answers:
        note = f"{note}; " if note else ""
        note += "stable may have been trained on pictures of the candidate's test, so nothing is refused by them"
    return Comparison(
        there=len(asked.pictures),
        source=asked.source,
        fair=asked.fair,
        compared=len(answers),
        disagreed=sum(one != other for _, one, other in answers),
        stable_right=sum(stable),
        candidate_right=sum(candidate),
        stable_alone=stable_alone,
        candidate_alone=candidate_alone,
        p=paired_p(stable_alone, candidate_alone),
        note=note,
    )


def _right(manifest: ModelManifest) -> tuple[int, int]:
    """How many test pictures were right, of how many; (0, 0) where the manifest says nothing that can be."""
    told = manifest.test_accuracy
    if told is None or not (0 <= told.value <= 1 and told.samples > 0):
        return 0, 0
    return round(told.value * told.samples), told.samples


def _accuracy_text(arm: str, side: Side) -> str:
    right, of = _right(side.manifest)
    if not of:
        return f"{arm} version {side.version} unknown"
    low, high = lower_bound(right, of, 0.025), upper_bound(right, of, 0.025)
    return f"{arm} version {side.version} {right / of:.2%} ({low:.1%} to {high:.1%}, {of} pictures)"
