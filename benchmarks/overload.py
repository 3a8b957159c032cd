"""What becomes of the answers when more is asked than can be answered: an open loop at multiples of what saturates.

Requests come at their own times, whether or not earlier ones were answered, as from many independent clients. What
saturates is found in the same way: a closed loop, whose clients wait for each other's batches, gets more answers out of
the same machine than clients who do not know of each other ever will.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.load import Load, Outcome, cpu_seconds, run_load
from benchmarks.refusals import RefusalProbe, Refusals, outcomes_by_code
from benchmarks.shared_bench import SharedBench
from benchmarks.workbench import Contestant, prepared

MULTIPLES = (1, 2, 3)
GOODPUT_BAR = 0.95
LATENCY_BAR_MS = 500.0

BASE, BURST, BURST_SECONDS = 0.6, 2.0, 5.0
"""A burst: so many times what saturates, for so long, inside so much of it."""

_CLOSED_LOOPS = (4, 8, 16, 32, 64)
"""Connections tried to find about where it saturates."""

_OPEN_SHARES = (0.6, 0.7, 0.8, 0.9, 1.0)
"""Rates tried then, as shares of what the best closed loop reached."""

_UNLOADED_SHARE = 0.05
"""Rate at which a request meets hardly any other, as a share of what saturates."""

_UNLOADED_LONGER = 6
"""The unloaded step lasts so many times longer than the others: a p99 of few requests is only the slowest of them."""

_MOST_CONNECTIONS = 3000
"""With fewer, what is asked waits in the load generator instead of the gateway."""

_WARM_UP_SECONDS = 8.0
"""Longer than a queue may stand before the gateway begins to refuse: a burst is answered whole."""

_SEARCH_SECONDS = 3.0


@dataclass(frozen=True)
class Step:
    """One rate: ``asked`` and ``goodput`` in requests a second, the latter answered 200 with the right label.

    ``p99_ms``: of accepted requests. ``codes``: the gateway's count of outcomes in the whole step, warm-up included.
    """

    multiple: float
    asked: float
    goodput: float
    p50_ms: float
    p99_ms: float
    wrong: int
    refused: int
    broken: int
    codes: dict[str, int]
    refusals: Refusals


@dataclass(frozen=True)
class Overload:
    """A case's steps. ``saturating``: most right answers a second that were reached in the search.

    ``closed``: the same of a closed loop, with ``connections``. ``burst_asked``, ``burst_refused``: requests during a
    burst, and those that got no right answer.
    """

    case: Case
    closed: float
    connections: int
    saturating: float
    unloaded: Step
    steps: Sequence[Step]
    burst_asked: int
    burst_refused: int

    @property
    def maximum(self) -> float:
        """The most right answers a second that an open loop got."""
        return max(self.saturating, *(step.goodput for step in self.steps))

    def kept(self, step: Step) -> float:
        """The step's goodput as a share of the maximum."""
        return step.goodput / self.maximum


def overload(case: Case, bench: SharedBench, work: Path, seconds: float) -> Overload:
    """Measure one case on Headway. Raises ``CannotMeasure``."""
    with prepared(case, bench, work, with_baselines=False) as (headway,):
        searched = {
            connections: _run(bench, headway, Load(connections, _SEARCH_SECONDS)).rate for connections in _CLOSED_LOOPS
        }
        connections = max(searched, key=lambda each: searched[each])
        closed = searched[connections]
        saturating = max(
            _run(bench, headway, Load(_MOST_CONNECTIONS, _SEARCH_SECONDS, rate=share * closed)).rate
            for share in _OPEN_SHARES
        )
        print(f"  {case.name}: {saturating:.0f}/s saturate; a closed loop of {connections}: {closed:.0f}/s", flush=True)
        unloaded = _step(bench, headway, _UNLOADED_SHARE, saturating, seconds * _UNLOADED_LONGER)
        steps = [_step(bench, headway, multiple, saturating, seconds) for multiple in MULTIPLES]
        asked, refused = _burst(bench, headway, saturating)
        return Overload(case, closed, connections, saturating, unloaded, steps, asked, refused)


def _burst(bench: SharedBench, headway: Contestant, saturating: float) -> tuple[int, int]:
    """Requests before, in and after a burst, and how many of them got no right answer."""
    calm = Load(_MOST_CONNECTIONS, 4 * BURST_SECONDS, rate=BASE * saturating)
    more = Load(_MOST_CONNECTIONS, BURST_SECONDS, warm_up=0.1, rate=(BURST - BASE) * saturating)
    time.sleep(_WARM_UP_SECONDS)
    with ThreadPoolExecutor(1) as threads:
        base = threads.submit(_run, bench, headway, calm)
        time.sleep(BURST_SECONDS)
        seen = (_run(bench, headway, more), base.result())
    bad = sum(each.refused + each.wrong + each.broken for each in seen)
    print(f"  a burst: {bad} of {sum(each.right for each in seen) + bad} refused, wrong or lost", flush=True)
    return sum(each.right for each in seen) + bad, bad


def _step(bench: SharedBench, headway: Contestant, multiple: float, saturating: float, seconds: float) -> Step:
    system, asked = headway.running.system, multiple * saturating
    before = outcomes_by_code(system)
    with RefusalProbe(system, headway.corpus.path) as probe:
        seen = _run(bench, headway, Load(_MOST_CONNECTIONS, seconds, warm_up=_WARM_UP_SECONDS, rate=asked))
    after = outcomes_by_code(system)
    codes = {code: count - before.get(code, 0) for code, count in after.items() if count > before.get(code, 0)}
    step = Step(
        multiple=multiple,
        asked=asked,
        goodput=seen.rate,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        wrong=seen.wrong,
        refused=seen.refused,
        broken=seen.broken,
        codes=codes,
        refusals=probe.seen,
    )
    print(
        f"  {multiple:g}x: {asked:.0f}/s asked, {step.goodput:.0f}/s answered, p99 {step.p99_ms:.1f} ms, {codes}",
        flush=True,
    )
    return step


def _run(bench: SharedBench, headway: Contestant, load: Load) -> Outcome[float]:
    running = headway.running
    return run_load(bench.loadgen, running.system, headway.corpus.path, load, lambda: cpu_seconds(running.pid))
