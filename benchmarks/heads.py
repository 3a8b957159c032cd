"""What further heads on the same base cost: the same photos to one head and to three, in one request."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.corpus import ask_alone
from benchmarks.load import Load, cpu_seconds, run_load
from benchmarks.models import headway as run_headway
from benchmarks.pictures import make_pictures
from benchmarks.shared_bench import SharedBench
from benchmarks.systems import Running, System, headway
from headway_contract.model_repository import ModelRepository

COST_BAR = 1.25
"""Three heads may cost so many times what one does."""

_HEADS = ("clothing-a", "clothing-b", "clothing-c")
_CONNECTIONS = (1, 8)


@dataclass(frozen=True)
class HeadFigures:
    """Medians over the rounds: of one request with ``heads`` models, milliseconds of latency and of CPU."""

    heads: int
    connections: int
    rate: float
    p50_ms: float
    cpu_ms: float
    wrong: int


@dataclass(frozen=True)
class Heads:
    """Figures with one head and with three, for each number of connections."""

    figures: Sequence[HeadFigures]

    def ratios(self, connections: int) -> tuple[float, float]:
        """Latency and CPU of three heads over those of one."""
        one, three = (each for each in self.figures if each.connections == connections)
        return three.p50_ms / one.p50_ms, three.cpu_ms / one.cpu_ms


def compare_heads(bench: SharedBench, work: Path, rounds: int, seconds: float) -> Heads:
    """Measure. Raises ``CannotMeasure``."""
    case, models = CASES["photos"], work / "heads"
    make_heads(models)
    pictures = make_pictures(case, work / "pictures" / case.name, models)
    labels = list(ModelRepository(models).manifest(_HEADS[0], 1).labels)
    served = headway(case, models)
    with Running(served, work / "heads.log") as running:
        running.wait_until_ready()
        asked = {count: _asking(served, _HEADS[:count]) for count in (1, len(_HEADS))}
        corpora = {
            count: ask_alone(bench, case, system, pictures, labels, work).path for count, system in asked.items()
        }
        seen: dict[tuple[int, int], list[HeadFigures]] = {}
        for number in range(rounds):
            for connections in _CONNECTIONS:
                for count in sorted(asked, reverse=number % 2 == 1):
                    load = Load(connections, seconds)
                    result = run_load(
                        bench.loadgen, asked[count], corpora[count], load, lambda: cpu_seconds(running.pid)
                    )
                    cpu_ms = (result.after - result.before) / result.right * 1000 if result.right else float("nan")
                    figures = HeadFigures(count, connections, result.rate, result.p50_ms, cpu_ms, result.wrong)
                    seen.setdefault((connections, count), []).append(figures)
                    print(
                        f"  round {number + 1}, {connections} connections, {count} heads: {figures.rate:.0f}/s, "
                        f"{figures.p50_ms:.1f} ms, {figures.cpu_ms:.1f} ms CPU",
                        flush=True,
                    )
    return Heads([_median(each) for _, each in sorted(seen.items())])


def make_heads(models: Path) -> None:
    """Three heads on one EfficientNet-Lite0, trained once with different seeds. Raises ``CannotMeasure``."""
    for seed, name in enumerate(_HEADS):
        if not ModelRepository(models).versions(name):
            print(f"training {name}, once ...", flush=True)
            settings = (f"name={name}", "export.form=on_base", f"seed={seed}")
            options = [text for setting in settings for text in ("--set", setting)]
            run_headway("train", "clothing", "--repository", str(models), *options)


def _asking(system: System, heads: Sequence[str]) -> System:
    query = "&".join(f"model={name}" for name in heads)
    return replace(system, name=f"Headway-{len(heads)}", path=f"/v1/classify?{query}")


def _median(figures: Sequence[HeadFigures]) -> HeadFigures:
    return HeadFigures(
        figures[0].heads,
        figures[0].connections,
        statistics.median(each.rate for each in figures),
        statistics.median(each.p50_ms for each in figures),
        statistics.median(each.cpu_ms for each in figures),
        sum(each.wrong for each in figures),
    )
