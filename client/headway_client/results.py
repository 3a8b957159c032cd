"""What the gateway answers, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass

from headway_client.errors import NoPrediction, ProblemError, UnsupportedInput


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its calibrated probability, 0..1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """The predictions for one image, best first. `index` is the image's place in the request, from 0.

    `problem`: why an image among several could not be read; it then has no predictions. `familiarity`: how much the
    image is like those that the version learned from, 0..1, None if it does not say; below 0.05 it is unlike them.
    `abstained`: whether no class reached the version's own threshold, None unless `min_confidence="model"` was asked.
    """

    index: int
    predictions: tuple[Prediction, ...]
    problem: ProblemError | None = None
    familiarity: float | None = None
    abstained: bool | None = None

    @property
    def top(self) -> Prediction:
        """The best prediction. Raises the image's problem, or NoPrediction if none reached `min_confidence`."""
        if self.problem is not None:
            raise self.problem
        if not self.predictions:
            raise NoPrediction(
                f"no class reached min_confidence for image {self.index}; lower it, or read .predictions"
            )
        return self.predictions[0]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an answer said of one picture, and what is true; `Classification.feedback` makes it.

    `arm`: `stable`, `candidate` or `pinned`. `label`: the class that was answered. `index`: the image's place in its
    request, from 0. `key_position`: the answer's, None if traffic was not split.
    """

    model: str
    version: int
    arm: str
    request_id: str
    label: str
    truth: str
    index: int = 0
    key_position: float | None = None


@dataclass(frozen=True, slots=True)
class IgnoredFeedback:
    """One that was not counted: its place among those sent, from 0, and why. `code` is meant for programs."""

    position: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class FeedbackTally:
    """What the gateway made of feedback. `duplicates` had been told before, and count once."""

    right: int
    wrong: int
    duplicates: int
    ignored: tuple[IgnoredFeedback, ...]

    @property
    def counted(self) -> int:
        """How many were counted."""
        return self.right + self.wrong


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one request: which version answered, and one Result per image in the order sent.

    `arm` is the arm of the traffic split that answered (`stable`, `candidate` or `pinned`), None if it is not said.
    `fallback_from` is the candidate version that failed before the stable one answered, None if none did.
    `key_position` is where the routing key stands between the arms (0..1) while traffic is split, else None.
    `top`, `label` and `score` are short cuts for a request with one image; they raise NoPrediction if it had
    several, or if no class reached `min_confidence`.
    """

    model: str
    version: int
    arm: str | None
    results: tuple[Result, ...]
    request_id: str
    fallback_from: int | None = None
    key_position: float | None = None

    @property
    def top(self) -> Prediction:
        """The best prediction of the only image."""
        if len(self.results) != 1:
            raise NoPrediction(f"this answer holds {len(self.results)} images; read .results[i].top of each")
        return self.results[0].top

    @property
    def label(self) -> str:
        """The best class of the only image."""
        return self.top.label

    @property
    def score(self) -> float:
        """The probability, 0..1, of the best class of the only image."""
        return self.top.score

    def feedback(self, truth: str, index: int = 0) -> Feedback:
        """What to send to `Client.feedback` once it is known that image `index` is a `truth`.

        Raises what `Result.top` raises for an image without a prediction, and UnsupportedInput for an index that the
        answer does not have, or if the answer does not say its arm.
        """
        if not 0 <= index < len(self.results):
            raise UnsupportedInput(f"there is no image {index}; this answer holds {len(self.results)}")
        if self.arm is None:
            raise UnsupportedInput("the answer does not say which arm gave it; ask a newer gateway")
        label = self.results[index].top.label
        answer = self.model, self.version, self.arm, self.request_id
        return Feedback(*answer, label, truth, index, self.key_position)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A served model: its stable version (None before there is one), all versions, labels and classes.

    `threshold`: the score below which the stable version would rather not answer; `least_familiar`: the familiarity
    below which an image is unlike those it learned from. None where it does not say.
    """

    name: str
    stable: int | None
    versions: tuple[int, ...]
    labels: Mapping[str, int]
    classes: tuple[str, ...]
    threshold: float | None = None
    least_familiar: float | None = None
