"""What a training run leaves beside the model, as values: every figure of the report and of ``headway compare``.

A version directory holds three files of a run: the record (``run.json``), the scores of every test picture
(``test_scores.npz``) and the page for people (``report.html``), all under ``assets.extra/``.
"""

import functools
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from headway_contract.model_manifest import Accuracy, BaseReference
from headway_training.errors import TrainingError

RUN_SCHEMA = 1
"""The schema written today; a record with another one is refused."""

RUN_FILE = Path("assets.extra/run.json")
SCORES_FILE = Path("assets.extra/test_scores.npz")
REPORT_FILE = Path("assets.extra/report.html")


@dataclass(frozen=True)
class ClassFigures:
    """One class on the test split. ``support``: its pictures; ``predicted``: pictures that were given this label.

    A share whose denominator is 0 (a class never predicted, or without pictures) is 0, never NaN.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class ConfusedPair:
    """How many pictures of class ``true`` were labelled ``predicted``."""

    true: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Mistake:
    """One wrong answer. ``index``: the picture's row in its split; ``score``: of the predicted class, 0..1.

    ``loss``: cross-entropy in nats, ``-log(score of the true class)``.
    """

    index: int
    true: str
    predicted: str
    score: float
    loss: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures whose top score lies in ``(low, high]``: how many, their mean top score, the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of one test split.

    ``confusion``: counts, a row per true class and a column per predicted one. ``log_loss``: mean cross-entropy in
    nats. ``ece``: expected calibration error, 0..1. ``reliability``: the bins that hold pictures, lowest first.
    ``most_confused``, ``top_losses``: the largest first. ``first_misclassified``: in the order of the split.
    """

    accuracy: Accuracy
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    most_confused: tuple[ConfusedPair, ...]
    top_losses: tuple[Mistake, ...]
    first_misclassified: tuple[Mistake, ...]
    log_loss: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CoveragePoint:
    """Answering only where the top score is at least ``threshold``.

    ``coverage``: share of pictures answered; ``risk``: share of wrong answers among them (0 where none is answered).
    """

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True)
class Abstention:
    """A suggested threshold below which the model should not answer, and what it costs. Shares, 0..1.

    ``coverage`` and ``risk`` are of the validation split that the threshold was chosen on, ``test_coverage`` and
    ``test_risk`` of the test split; ``curve`` shows other thresholds on the test split, coverage ascending. ``bound``:
    what the risk does not exceed with 95 % confidence; None where there were too few pictures to say.
    """

    threshold: float
    coverage: float
    risk: float
    target_risk: float
    test_coverage: float
    test_risk: float
    curve: tuple[CoveragePoint, ...]
    bound: float | None = None


@dataclass(frozen=True)
class Baseline:
    """What a simple classifier reaches on the same test split. ``samples``: training pictures it was fitted on."""

    name: str
    accuracy: Accuracy
    samples: int
    seconds: float


@dataclass(frozen=True)
class FittingPhase:
    """One phase of fitting: ``base``, ``head`` or ``fine-tuning``. One entry per epoch in each curve.

    ``epoch_seconds``: the training pass, without validation. ``cpu_seconds``: of all threads of the process.
    A value of a diverged epoch may be NaN.
    """

    # JSON has no NaN: an epoch that diverged is written as the text "NaN" and read back as what it was.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="strings")

    name: str
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    validation_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    epoch_seconds: tuple[float, ...]
    seconds: float
    trainable_parameters: int
    cpu_seconds: float | None = None

    @property
    def median_epoch_seconds(self) -> float:
        """Median wall seconds of an epoch; the first, which also builds the graph, counts only if it is alone."""
        return median(self.epoch_seconds[1:] or self.epoch_seconds)


@dataclass(frozen=True)
class SweepPoint:
    """One depth of the freeze sweep. ``depth``: how many of the base's last layers with weights were trained too."""

    depth: int
    trainable_parameters: int
    validation_accuracy: float
    test_accuracy: Accuracy
    seconds: float
    epoch_seconds: float


@dataclass(frozen=True)
class OtherTest:
    """The finished model on another test set. ``note``: what the figure is for."""

    dataset: str
    accuracy: Accuracy
    note: str


@dataclass(frozen=True)
class RunRecord:
    """One training run, from data to published version.

    ``evaluation`` is of the test split and after calibration; ``uncalibrated_ece`` and ``uncalibrated_reliability``
    are of the same split before. ``counts``: pictures per split. ``seconds``: wall time per stage.
    ``base_epoch_seconds``: of the base that a head stands on, where its own record tells.
    """

    model: str
    kind: str
    form: str
    created: str
    """UTC time, ISO 8601."""
    recipe: Mapping[str, Any]
    """The whole recipe, every field with the value used, as JSON types."""
    classes: tuple[str, ...]
    seed: int
    data_digest: str
    counts: Mapping[str, int]
    data_warnings: tuple[str, ...]
    evaluation: Evaluation
    uncalibrated_ece: float
    uncalibrated_reliability: tuple[ReliabilityBin, ...]
    temperature: float
    validation_accuracy: float
    abstention: Abstention
    baselines: tuple[Baseline, ...]
    phases: tuple[FittingPhase, ...]
    parameters: int
    trainable_parameters: int
    seconds: Mapping[str, float]
    packages: Mapping[str, str]
    expected_accuracy: float = 0.0
    sweep: tuple[SweepPoint, ...] = ()
    other_tests: tuple[OtherTest, ...] = ()
    base: BaseReference | None = None
    base_epoch_seconds: float | None = None
    git_commit: str | None = None
    schema: int = RUN_SCHEMA

    @property
    def total_seconds(self) -> float:
        """Wall seconds of all stages together."""
        return sum(self.seconds.values())

    def to_json(self) -> str:
        """Return the record as JSON. Equal records give equal texts."""
        return _adapter().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "RunRecord":
        """Read what :meth:`to_json` wrote. Raises :class:`TrainingError` with the fields that are wrong.

        Unknown keys are ignored, so that a later release may add facts without another ``schema``.
        """
        try:
            mapping = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"run record: not JSON: {error}") from error
        schema = mapping.get("schema") if isinstance(mapping, dict) else None
        if schema != RUN_SCHEMA:
            raise TrainingError(
                f"run record: schema {schema!r} is unknown to this release, which reads {RUN_SCHEMA}; "
                "read it with the release that wrote it"
            )
        try:
            return _adapter().validate_python(mapping)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise TrainingError(f"run record: {wrong}") from error


@functools.cache
def _adapter() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)


@dataclass(frozen=True, eq=False)
class ScoredPictures:
    """The test split as the model saw it, row by row.

    ``scores``: ``float32[N, K]``, calibrated. ``labels``: ``int32[N]``. ``identities``: one text per picture; equal
    content has equal identity, so that runs on overlapping test sets can be paired.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    identities: NDArray[np.str_]

    def save(self, path: Path) -> None:
        """Write the three arrays as a compressed ``.npz`` of these names."""
        np.savez_compressed(path, scores=self.scores, labels=self.labels, identities=self.identities)

    @classmethod
    def load(cls, path: Path) -> "ScoredPictures":
        """Read what :meth:`save` wrote. Raises :class:`TrainingError` for a file that is not such a one."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["scores"], arrays["labels"], arrays["identities"].astype(np.str_))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path} holds no scores of a test split: {error}") from error
