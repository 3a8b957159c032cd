"""Headway beside the plain services: rounds in which each is under load once, alone, in turn."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, Shape
from benchmarks.load import Load, cpu_seconds, run_load
from benchmarks.shared_bench import SharedBench
from benchmarks.workbench import Contestant, prepared


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds of one system; ``rates`` are those of the single rounds.

    ``rate``: right answers a second. ``cpu_ms``: CPU of all its processes for one right answer.
    ``wrong``, ``refused``, ``broken``: answers of all rounds with another label, with another status, and none;
    ``example``: the first that was not right.
    """

    system: str
    rate: float
    rates: tuple[float, ...]
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    accuracy: float
    wrong: int
    refused: int
    broken: int
    example: str


@dataclass(frozen=True)
class Round:
    """One system in one round; see :class:`Figures`."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    wrong: int
    refused: int
    broken: int
    example: str


@dataclass(frozen=True)
class Comparison:
    """A case's figures under one load. ``best_rate``: our own answers a second under the case's main load."""

    case: Case
    shape: Shape
    figures: Sequence[Figures]
    best_rate: Mapping[str, float]

    @property
    def ours(self) -> list[Figures]:
        """Headway's, that with its defaults first."""
        return [each for each in self.figures if each.system.startswith("Headway")]

    @property
    def better(self) -> Figures:
        """The plain service with more answers a second."""
        return max((each for each in self.figures if each not in self.ours), key=lambda each: each.rate)


def compare(case: Case, bench: SharedBench, work: Path, rounds: int, seconds: float) -> list[Comparison]:
    """Measure one case under each of its loads. Raises ``CannotMeasure``."""
    with prepared(case, bench, work, with_baselines=True) as contestants:
        for each in contestants:
            # Threads, connections and caches fill before anything counts.
            _measure(bench, each, Load(case.connections, seconds=1))
        comparisons: list[Comparison] = []
        best: dict[str, float] = {}
        for shape in case.shapes:
            figures = _under(shape, case, contestants, bench, rounds, seconds, best)
            best = best or {each.system: each.rate for each in figures}
            comparisons.append(Comparison(case, shape, figures, best))
        return comparisons


def _under(
    shape: Shape,
    case: Case,
    contestants: Sequence[Contestant],
    bench: SharedBench,
    rounds: int,
    seconds: float,
    best: Mapping[str, float],
) -> list[Figures]:
    measured: dict[str, list[Round]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        # Another one begins each time, so that what the machine does besides meets all alike.
        shift = number % len(contestants)
        for each in (*contestants[shift:], *contestants[:shift]):
            rate = None if shape.share is None else shape.share * best[each.name]
            result = _measure(bench, each, Load(shape.connections, seconds, rate=rate))
            measured[each.name].append(result)
            print(
                f"  {case.name}, {shape.name}, round {number + 1} {each.name}: {result.rate:.0f}/s, "
                f"{result.cpu_ms:.2f} ms CPU",
                flush=True,
            )
    return [_medians(each, measured[each.name]) for each in contestants]


def _measure(bench: SharedBench, contestant: Contestant, load: Load) -> Round:
    running = contestant.running
    seen = run_load(bench.loadgen, running.system, contestant.corpus.path, load, lambda: cpu_seconds(running.pid))
    cpu_ms = (seen.after - seen.before) / seen.right * 1000 if seen.right else float("nan")
    return Round(seen.rate, seen.p50_ms, seen.p99_ms, cpu_ms, seen.wrong, seen.refused, seen.broken, seen.example)


def _medians(contestant: Contestant, rounds: Sequence[Round]) -> Figures:
    return Figures(
        system=contestant.name,
        rate=statistics.median(each.rate for each in rounds),
        rates=tuple(each.rate for each in rounds),
        p50_ms=statistics.median(each.p50_ms for each in rounds),
        p99_ms=statistics.median(each.p99_ms for each in rounds),
        cpu_ms=statistics.median(each.cpu_ms for each in rounds),
        accuracy=contestant.corpus.accuracy,
        wrong=sum(each.wrong for each in rounds),
        refused=sum(each.refused for each in rounds),
        broken=sum(each.broken for each in rounds),
        example=next((each.example for each in rounds if each.example), ""),
    )
