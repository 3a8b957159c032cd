"""The page ``docs/reproduced.md``, from the figures of the runs and from nothing else."""

from collections.abc import Mapping, Sequence
from statistics import mean, median

from scripts.published_figures import EXPERIMENTS, RANDOM_WEIGHTS, Experiment
from scripts.run_figures import Figures, RunFigures

HEADING = """# The tutorials' experiments, reproduced

Written by `make reproduce` from the figures in [reproduced.json](reproduced.json), which it also writes. "As published"
does what the document does and nothing else ([training.md](training.md#recipes)); a test compares each such recipe with
the documents' numbers, another one of them with a script in plain Keras (`scripts/published_experiments.py`). Accuracy
is of the whole test split: of one seed with its 95 % Wilson interval, of several their mean and, in brackets, the least
and the most. CPU seconds are of the fit, over all threads; wall seconds were taken on two cores that other work shared,
and say little. `headway recipes show NAME` prints a recipe, `headway train NAME --set seed=2` runs it."""


def page(figures: Figures, rows: Sequence[Experiment] = EXPERIMENTS) -> str:
    """The whole page."""
    parts = (
        HEADING, table(figures, rows), epochs(figures, rows), ratios(figures, rows), sweeps(figures, rows),
        other_tests(figures, rows), facts(figures), predictions(figures), again(figures),
    )  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def missed(figures: Figures, rows: Sequence[Experiment] = EXPERIMENTS) -> list[str]:
    """Improved recipes that are below their bar on the mean of their seeds, or were not run."""
    return [
        row.improved for row in rows
        if row.improved and row.bar and not mean([run.accuracy for run in figures.of(row.improved)] or [0]) >= row.bar
    ]  # fmt: skip


def table(figures: Figures, rows: Sequence[Experiment]) -> str:
    """Published, as published here, improved."""
    lines = _head("Document", "Experiment", "Published", "As published, here", "Improved", "Must reach")
    notes = []
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:g}: {_reached(figures, row)}"
        mark = ""
        if row.note:
            notes.append(row.note)
            mark = f" ({len(notes)})"
        cells = (row.document, row.title + mark, row.published, _cell(figures, row.as_published),
                 _cell(figures, row.improved), bar)  # fmt: skip
        lines.append(_row(*cells))
    below = [f"{number}. {note}" for number, note in enumerate(notes, start=1)]
    failed = [f"- `{name}` could not run here: {why}" for name, why in sorted(figures.failed.items())]
    return "\n".join([*lines, "", *below, *(["", *failed] if failed else [])])


def epochs(figures: Figures, rows: Sequence[Experiment]) -> str:
    """The test accuracy after each epoch, published and here."""
    lines = _head("Experiment", "", "1", "2", "3", "4", "5", "Wall s", "CPU s")
    for row in rows:
        if not row.epochs:
            continue
        lines.append(_row(f"{row.document}: {row.title}", "published", *_shown(row.epochs), f"{row.seconds}", ""))
        for run in figures.of(row.as_published):
            times = _number(run.fit_seconds), _number(run.cpu_seconds)
            lines.append(_row("", f"seed {run.seed}", *_shown(run.epochs), *times))
    return "\n".join(["## Epoch by epoch", "", *lines]) if len(lines) > 2 else ""


def ratios(figures: Figures, rows: Sequence[Experiment]) -> str:
    """Heads against the bases that they stand on: a whole fit, published and here."""
    published = {row.as_published: row.seconds for row in rows if row.seconds}
    lines = _head(
        "Head", "Base", "Published: head / base", "Here: CPU s of the fits", "head / base", "Epochs: head / base"
    )
    for row in rows:
        for name in (row.as_published, row.improved):
            runs = [run for run in figures.of(name) if run.base is not None and figures.of(run.base)]
            if not runs:
                continue
            base = str(runs[0].base)
            lines.append(_row(f"`{name}`", f"`{base}`", _published_ratio(published, name, base),
                              *_ratio(runs, figures.of(base))))  # fmt: skip
    heading = "## A head against its base\n\nEpochs: seconds of the median training pass.\n"
    return "\n".join([heading, *lines]) if len(lines) > 2 else ""


def _published_ratio(published: Mapping[str | None, float], name: str | None, base: str) -> str:
    own, other = published.get(name), published.get(base)
    return f"{own} / {other} = {own / other:.2f}" if own and other else ""


def _ratio(heads: Sequence[RunFigures], bases: Sequence[RunFigures]) -> tuple[str, str, str]:
    def middle(runs: Sequence[RunFigures], name: str) -> float | None:
        values = [getattr(run, name) for run in runs if getattr(run, name) is not None]
        return median(values) if values else None

    cpu = middle(heads, "cpu_seconds"), middle(bases, "cpu_seconds")
    epoch = middle(heads, "epoch_seconds"), middle(bases, "epoch_seconds")
    shown = f"{cpu[0]:.0f} / {cpu[1]:.0f}" if cpu[0] is not None and cpu[1] is not None else ""
    return (shown, *(f"{one / other:.2f}" if one and other else "" for one, other in (cpu, epoch)))  # type: ignore[return-value]


def sweeps(figures: Figures, rows: Sequence[Experiment]) -> str:
    """Where and how deep to fine-tune."""
    lines = _head("Recipe", "Seed", "Depth", "Trained parameters", "Test", "Wall s")
    for row in rows:
        for name in (row.as_published, row.improved):
            for run in figures.of(name):
                lines += [
                    _row(f"`{name}`", str(run.seed), str(depth.depth), f"{depth.trained:,}", f"{depth.accuracy:.4f}",
                         f"{depth.seconds:.0f}")
                    for depth in run.depths
                ]  # fmt: skip
    heading = (
        "## How deep to fine-tune\n\nDepth: how many of the base's last layers with weights are trained beside the "
        "head; 0 is the frozen base.\n"
    )
    return "\n".join([heading, *lines]) if len(lines) > 2 else ""


def other_tests(figures: Figures, rows: Sequence[Experiment]) -> str:
    """Models applied unchanged to another dataset."""
    lines = _head("Model", "Test set", "Accuracy")
    for row in rows:
        for name in (row.as_published, row.improved):
            runs = [run for run in figures.of(name) if run.others]
            for dataset in runs[0].others if runs else ():
                lines.append(_row(f"`{name}`", dataset, _spread([run.others[dataset] for run in runs])))
    heading = (
        "## Applied unchanged to another test set\n\nPublished: about 8 % of clothes, by the network for digits.\n"
    )
    return "\n".join([heading, *lines]) if len(lines) > 2 else ""


def facts(figures: Figures) -> str:
    """What document 000 shows beside its accuracies."""
    if not figures.facts:
        return ""
    lines = [*_head("What", "The document", "Here"), *(_row(*fact) for fact in figures.facts)]
    pictures = (
        "![Ten of each digit](pictures/ten-of-each-digit.png)\n\n"
        "![The first ten test pictures that are misclassified](pictures/first-ten-misclassified.png)"
    )
    heading = (
        "## Document 000, step by step\n\n"
        "On `mnist-as-published`; the mistakes on the first 12,000 training pictures.\n"
    )
    return "\n".join([heading, *lines, "", pictures])


def predictions(figures: Figures) -> str:
    """The picture of predictions of document 003, by what could run here."""
    if not figures.of(RANDOM_WEIGHTS):
        return ""
    return (
        f"## Document 003, ten predictions\n\nOf `{RANDOM_WEIGHTS}`, which knows little: the names show that class "
        "indices, which are the order of the folders' names, are mapped back to their names. `make reproduce` draws "
        "them into `.reproduce/predictions.png`; photographs of others are not kept here."
    )


def again(figures: Figures) -> str:
    """The same base and head once more, in other processes and an empty repository."""
    lines = [*_head("Recipe", "First", "Again", "Weights"), *(_row(*row) for row in figures.again)]
    return "\n".join(["## The same seed twice", "", *lines]) if figures.again else ""


def _reached(figures: Figures, row: Experiment) -> str:
    if not figures.of(row.improved):
        return "not run"
    return "**no**" if row.improved in missed(figures, [row]) else "yes"


def _cell(figures: Figures, name: str | None) -> str:
    if name is None:
        return ""
    runs = figures.of(name)
    if not runs:
        return f"`{name}`: not run"
    worked = [run.cpu_seconds for run in runs if run.cpu_seconds is not None]
    parts = [_spread([run.accuracy for run in runs], runs[0])]
    if name == "mnist-as-published":
        parts.append(f"on training pictures {_spread([run.training for run in runs if run.training is not None])}")
    parts.append(f"{median(worked):.0f} CPU s" if worked else f"{median(run.seconds for run in runs):.0f} s in all")
    if not worked:
        parts.append(f"measured {runs[0].measured}")
    return f"{', '.join(parts)}, `{name}`"


def _spread(values: Sequence[float], single: RunFigures | None = None) -> str:
    if len(values) > 1:
        return f"**{mean(values):.4f}** [{min(values):.4f}, {max(values):.4f}; {len(values)} seeds]"
    return f"**{values[0]:.4f}**" + (f" ({single.low:.4f}-{single.high:.4f})" if single else "")


def _shown(values: Sequence[float]) -> list[str]:
    return [f"{value:.4f}" for value in values]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _head(*titles: str) -> list[str]:
    return [_row(*titles), "|" + "---|" * len(titles)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
