"""A run's record -> one self-contained HTML page: no request leaves it, so it can be mailed and kept."""

import base64
import functools
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape
from PIL import Image

from headway_contract.preprocessing import decode_image
from headway_training import plots
from headway_training.run_record import Evaluation, RunRecord

_LARGEST_TABLE = 20  # classes; a larger confusion matrix is drawn as a picture
_PICTURE_SIDE = 160  # pixels
_PICTURE_BYTES = 12_000
_PIXELS_SIDE = 64  # pixels; a smaller picture is shown enlarged, its pixels as squares
_CLASS_PICTURES = 160  # of all classes together, so that a page of a hundred classes stays small


@dataclass(frozen=True)
class Picture:
    """An encoded picture (PNG or JPEG) of any size, and what names it to people, such as its file name."""

    image: bytes
    caption: str


@dataclass(frozen=True)
class ClassPictures:
    """Some pictures of one class."""

    label: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Galleries:
    """The pictures that a report shows.

    ``top_losses`` and ``first_misclassified``: one for each entry of that name in the evaluation, in its order; the
    true and the predicted class come from there. ``per_class``: examples, a group per class. ``near_copies``: pairs.
    """

    top_losses: tuple[Picture, ...] = ()
    first_misclassified: tuple[Picture, ...] = ()
    per_class: tuple[ClassPictures, ...] = ()
    near_copies: tuple[tuple[Picture, Picture], ...] = ()


@dataclass(frozen=True)
class _Cell:
    """A cell of the confusion table. ``strength``: how strongly it is shaded, 0..1."""

    count: int
    strength: float
    right: bool
    title: str


@dataclass(frozen=True)
class _Bar:
    """A row of a bar chart: ``share`` of the full width; ``low`` and ``high`` bound an interval, where there is one."""

    name: str
    note: str
    text: str
    share: float
    ours: bool
    low: float | None = None
    high: float | None = None


def render_report(record: RunRecord, galleries: Galleries) -> str:
    """The page as HTML text. Raises ValueError where a gallery does not fit its list of mistakes."""
    evaluation = record.evaluation
    return _template().render(
        record=record,
        evaluation=evaluation,
        accuracy_bars=_accuracy_bars(record),
        epoch_bars=_epoch_bars(record),
        stage_bars=_stage_bars(record),
        confusion=_confusion_table(evaluation),
        plots=_plots(record),
        top_losses=_paired(evaluation.top_losses, galleries.top_losses),
        first_misclassified=_paired(evaluation.first_misclassified, galleries.first_misclassified),
        per_class=_thinned(galleries.per_class),
        near_copies=galleries.near_copies,
        recipe=_fields(record.recipe),
    )


def _paired(mistakes: Sequence[Any], pictures: Sequence[Picture]) -> list[tuple[Any, Picture]]:
    """Each mistake with its picture; nothing where no pictures were given."""
    return list(zip(mistakes, pictures, strict=True)) if pictures else []


def _thinned(groups: Sequence[ClassPictures]) -> list[ClassPictures]:
    each = max(1, _CLASS_PICTURES // max(1, len(groups)))
    return [ClassPictures(group.label, group.pictures[:each]) for group in groups[:_CLASS_PICTURES]]


def _plots(record: RunRecord) -> dict[str, Markup]:
    evaluation = record.evaluation
    drawn = {
        "reliability": plots.reliability_diagram(record.uncalibrated_reliability, evaluation.reliability),
        "risk": plots.risk_coverage(record.abstention),
    }
    if any(phase.loss for phase in record.phases):
        drawn |= {"accuracy": plots.accuracy_curves(record.phases), "loss": plots.loss_curves(record.phases)}
    if record.sweep:
        drawn |= {
            "sweep_accuracy": plots.sweep_accuracy(record.sweep),
            "sweep_seconds": plots.sweep_seconds(record.sweep),
        }
    if len(evaluation.confusion) > _LARGEST_TABLE:
        drawn["confusion"] = plots.confusion_image(evaluation.confusion)
    # Matplotlib escapes what it writes as text; no class name is among it anyway.
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704


def _confusion_table(evaluation: Evaluation) -> list[list[_Cell]]:
    """Shaded by the square root of the share of the row, so that rare confusions are seen; empty for many classes."""
    labels = [figures.label for figures in evaluation.per_class]
    if len(labels) > _LARGEST_TABLE:
        return []
    table = []
    for true, row in enumerate(evaluation.confusion):
        support = max(sum(row), 1)
        table.append(
            [
                _Cell(
                    count=count,
                    strength=math.sqrt(count / support),
                    right=true == predicted,
                    title=f"{count} of {support} {labels[true]} labelled {labels[predicted]} ({count / support:.1%})",
                )
                for predicted, count in enumerate(row)
            ]
        )
    return table


def _accuracy_bars(record: RunRecord) -> list[_Bar]:
    rows = [
        (baseline.name, f"{baseline.samples:,} training pictures", baseline.accuracy, False)
        for baseline in record.baselines
    ]
    rows.append(
        ("this model", f"{record.counts.get('train', 0):,} training pictures", record.evaluation.accuracy, True)
    )
    return [
        _Bar(name, note, _percent(accuracy.value), accuracy.value, ours, accuracy.low, accuracy.high)
        for name, note, accuracy, ours in rows
    ]


def _epoch_bars(record: RunRecord) -> list[_Bar]:
    """Median seconds of a training pass: the base that the model stands on, then each phase of its own."""
    seconds = [(phase.name, phase.median_epoch_seconds, True) for phase in record.phases if phase.epoch_seconds]
    if record.base_epoch_seconds is not None and record.base is not None:
        seconds.insert(0, (f"base {record.base.model}", record.base_epoch_seconds, False))
    longest = max((value for _, value, _ in seconds), default=0) or 1
    return [_Bar(name, "", f"{value:.3g} s", value / longest, ours) for name, value, ours in seconds]


def _stage_bars(record: RunRecord) -> list[_Bar]:
    longest = max(record.seconds.values(), default=0) or 1
    return [_Bar(name, "", f"{value:.1f} s", value / longest, ours=True) for name, value in record.seconds.items()]


def _fields(recipe: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Every field of the recipe as a dotted name and its JSON value."""
    rows: list[tuple[str, str]] = []
    for key, value in recipe.items():
        if isinstance(value, Mapping) and value:
            rows += _fields(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
    return rows


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _img(picture: Picture, alt: str) -> Markup:
    """The picture inside the page; one that is large, or neither PNG nor JPEG, as a JPEG of at most 160 pixels."""
    encoded = picture.image
    side = max(Image.open(io.BytesIO(encoded)).size)
    mime = _mime(encoded)
    if mime is None or len(encoded) > _PICTURE_BYTES or side > _PICTURE_SIDE:
        mime, encoded = "image/jpeg", _shrunk(encoded)
    text = base64.b64encode(encoded).decode("ascii")
    kind = "pixels" if side <= _PIXELS_SIDE else "photo"
    return Markup('<img class="{}" alt="{}" src="data:{};base64,{}">').format(kind, alt, mime, text)


def _breakable(path: str) -> Markup:
    """A file's path that is broken behind a slash before it is broken within a name."""
    return escape(path).replace("/", Markup("/<wbr>"))


def _mime(encoded: bytes) -> str | None:
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/jpeg" if encoded.startswith(b"\xff\xd8\xff") else None


def _shrunk(encoded: bytes) -> bytes:
    picture = decode_image(encoded)
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=_percent, number=_number, img=_img, breakable=_breakable)
    text = (resources.files("headway_training") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
