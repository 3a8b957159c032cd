"""The report's plots as inline SVG that takes the page's fonts and colours, by day and by night.

Matplotlib writes fixed colours; each is a placeholder here that becomes a CSS variable of the page.
"""

import io
import re
from collections.abc import Sequence
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from headway_training.run_record import Abstention, FittingPhase, ReliabilityBin, SweepPoint

_INK, _MUTED, _LINE, _FIRST, _SECOND = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _LINE: "--line", _FIRST: "--accent", _SECOND: "--second"}
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headway",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
}
_WIDTH, _HEIGHT = 5.4, 3.3  # inches: about a phone's width in CSS pixels, so that text keeps its size there


def accuracy_curves(phases: Sequence[FittingPhase]) -> str:
    """Training and validation accuracy per epoch, all phases in a row."""
    return _curves(
        phases,
        "accuracy",
        ([value for phase in phases for value in phase.accuracy], "training"),
        ([value for phase in phases for value in phase.validation_accuracy], "validation"),
    )


def loss_curves(phases: Sequence[FittingPhase]) -> str:
    """Training and validation loss per epoch, all phases in a row."""
    return _curves(
        phases,
        "loss",
        ([value for phase in phases for value in phase.loss], "training"),
        ([value for phase in phases for value in phase.validation_loss], "validation"),
    )


def reliability_diagram(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> str:
    """Share that is right against mean top score, before and after calibration; the diagonal is perfect."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("mean score of the answer", "share that is right")
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        for bins, colour, label in ((before, _SECOND, "before"), (after, _FIRST, "after")):
            confidence, right = [item.confidence for item in bins], [item.accuracy for item in bins]
            axes.plot(confidence, right, color=colour, linewidth=1.2, label=label)
            # The fewer pictures a bin holds, the less its place says.
            pictures = np.array([item.count for item in bins])
            axes.scatter(confidence, right, s=6 + 60 * np.sqrt(pictures / pictures.max()), color=colour)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left")
        return _svg(figure, "reliability", "Reliability diagram: score of the answers against the share that is right")


def risk_coverage(abstention: Abstention) -> str:
    """Wrong answers against the share of test pictures answered; the suggested threshold is marked."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("share of test pictures answered", "wrong among the answers")
        axes.plot(
            [point.coverage for point in abstention.curve], [point.risk for point in abstention.curve], color=_FIRST
        )
        axes.plot(
            [abstention.test_coverage], [abstention.test_risk], "o", color=_SECOND, markersize=8,
            label=f"suggested: answer from {abstention.threshold:.3f}",
        )  # fmt: skip
        axes.set(xlim=(0, 1.02))
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left")
        return _svg(figure, "risk", "Share of wrong answers against the share of pictures that are answered")


def sweep_accuracy(points: Sequence[SweepPoint]) -> str:
    """Validation and test accuracy (with its 95 % interval) per freeze depth."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("trained layers of the base, counted from the last", "accuracy")
        places = np.arange(len(points))
        test = [point.test_accuracy for point in points]
        below = [accuracy.value - accuracy.low for accuracy in test]
        above = [accuracy.high - accuracy.value for accuracy in test]
        axes.errorbar(
            places, [accuracy.value for accuracy in test], yerr=[below, above], color=_FIRST, marker="o", capsize=4,
            elinewidth=1.2, label="test, with its 95 % interval",
        )  # fmt: skip
        axes.plot(places, [point.validation_accuracy for point in points], "D", color=_SECOND, label="validation")
        axes.set_xticks(places, _depth_names(points))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.margins(y=0.15)
        _legend_above(axes)
        return _svg(figure, "sweep-accuracy", "Accuracy by the number of the base's layers that are trained")


def sweep_seconds(points: Sequence[SweepPoint]) -> str:
    """Seconds of fitting per freeze depth."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("trained layers of the base, counted from the last", "seconds of fitting")
        bars = axes.bar(np.arange(len(points)), [point.seconds for point in points], width=0.6, color=_FIRST)
        axes.bar_label(bars, [f"{point.seconds:.3g} s" for point in points], padding=3, color=_INK)
        axes.set_xticks(np.arange(len(points)), _depth_names(points))
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.15)
        return _svg(figure, "sweep-seconds", "Seconds of fitting by the number of the base's layers that are trained")


def confusion_image(confusion: Sequence[Sequence[int]]) -> str:
    """The confusion matrix of many classes as a picture: the darker, the larger a share of its row (square root)."""
    counts = np.array(confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # From clear to dark blue: on a light and on a dark page the empty cells are the page itself.
    shades = LinearSegmentedColormap.from_list("shades", [(0.23, 0.51, 0.96, 0.0), (0.23, 0.51, 0.96, 1.0)])
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("predicted class", "true class")
        figure.set_size_inches(_WIDTH, _WIDTH)
        axes.grid(visible=False)
        axes.imshow(np.sqrt(shares), cmap=shades, vmin=0, vmax=1, interpolation="none")
        return _svg(figure, "confusion", f"Confusion matrix of {len(counts)} classes")


def _curves(phases: Sequence[FittingPhase], name: str, *curves: tuple[list[float], str]) -> str:
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes("epoch", name)
        for (values, label), colour in zip(curves, (_SECOND, _FIRST), strict=True):
            epochs = np.arange(1, len(values) + 1)
            # A single epoch is no line: its point must be seen.
            axes.plot(epochs, values, color=colour, label=label, marker="o" if len(values) < 15 else "")
        ends = np.cumsum([len(phase.loss) for phase in phases])[:-1]
        for end, phase in zip(ends, phases[1:], strict=True):
            axes.axvline(end + 0.5, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
            # Upright, so that the names of short phases do not run into each other; where the curves are not.
            high = name == "loss"
            axes.annotate(
                phase.name, (end + 0.5, 0.98 if high else 0.02), xycoords=("data", "axes fraction"), xytext=(3, 0),
                textcoords="offset points", va="top" if high else "bottom", rotation=90, color=_MUTED, fontsize=9,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_above(axes)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        return _svg(figure, name, f"Training and validation {name} per epoch")


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label)
    return figure, axes


def _legend_above(axes: Axes) -> None:
    """Outside, where it hides no curve."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _depth_names(points: Sequence[SweepPoint]) -> list[str]:
    return ["0 (frozen)" if point.depth == 0 else str(point.depth) for point in points]


def _svg(figure: Figure, name: str, description: str) -> str:
    """An ``<svg>`` element that scales with its container; ids start with ``name``, which a page uses once."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    view = re.search(r'viewBox="[^"]+"', text)
    assert view is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    # A style element would hold for the whole page, and the page has its own fonts.
    body = re.sub(r"<style.*?</style>| font-family: [^;]+;", "", body, flags=re.DOTALL)
    # Most ids are of groups that nothing refers to; those that are left must not meet another plot's.
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return f'<svg class="plot" role="img" aria-label="{escape(description)}" {view[0]}>{body}'
