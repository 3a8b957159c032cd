"""Figures as tables for people and as JSON for programs."""

import dataclasses
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison, Figures
from benchmarks.heads import COST_BAR, Heads
from benchmarks.overload import BASE, BURST, BURST_SECONDS, GOODPUT_BAR, LATENCY_BAR_MS, Overload
from benchmarks.shared_bench import ROOT


def surroundings() -> dict[str, Any]:
    """What figures depend on besides the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit or "unknown",
        "cores": os.cpu_count(),
        "processor": model,
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def comparison_table(comparison: Comparison) -> str:
    """One row a system, then what the ratios are and what they should be."""
    case, shape = comparison.case, comparison.shape
    lines = [
        f"### {case.name}: {case.pictures}, {shape.name}",
        "",
        "| | answers/s (rounds) | p50 ms | p99 ms | CPU ms | accuracy | wrong | refused | broken |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in comparison.figures:
        rounds = ", ".join(f"{rate:.0f}" for rate in each.rates)
        lines.append(
            f"| {each.system} | **{each.rate:.0f}** ({rounds}) | {each.p50_ms:.2f} | {each.p99_ms:.1f} | "
            f"**{each.cpu_ms:.2f}** | {each.accuracy:.3f} | {each.wrong} | {each.refused} | {each.broken} |"
        )
    lines += [
        f"\n{ours.system}, of {comparison.better.system}: {_ratios(comparison, ours)}." for ours in comparison.ours
    ]
    examples = [f"{each.system}: {each.example}" for each in comparison.figures if each.example]
    return "\n".join([*lines, *(f"First answer not right, {example}" for example in examples)]) + "\n"


def _ratios(comparison: Comparison, ours: Figures) -> str:
    better, bars = comparison.better, comparison.shape.bars
    rows = (
        ("answers/s", ours.rate / better.rate, bars.rate, True),
        ("p50", ours.p50_ms / better.p50_ms, bars.p50, False),
        ("p99", ours.p99_ms / better.p99_ms, bars.p99, False),
        ("CPU", ours.cpu_ms / better.cpu_ms, bars.cpu, False),
    )
    texts = []
    for name, ratio, bar, at_least in rows:
        verdict = "" if bar is None else f" (to reach: {bar:g}; {_verdict(ratio >= bar if at_least else ratio <= bar)})"
        texts.append(f"{name} {ratio:.2f}{verdict}")
    if bars.of_best is not None:
        share = ours.rate / comparison.best_rate[ours.system]
        reached = share >= bars.of_best and not ours.refused
        texts.append(f"{share:.2f} of its own best (to reach: {bars.of_best:g}, nothing refused; {_verdict(reached)})")
    return ", ".join(texts)


def overload_table(overload: Overload) -> str:
    """One row a rate, the unloaded one first."""
    lines = [
        f"### {overload.case.name}: {overload.case.pictures}",
        "",
        f"Saturating load: {overload.saturating:.0f}/s; most right answers seen: {overload.maximum:.0f}/s; "
        f"{overload.connections} connections in a closed loop: {overload.closed:.0f}/s.",
        "",
        "| load | asked/s | right/s | of maximum | p50 ms | p99 ms | wrong | broken | outcomes "
        "| 503 without Retry-After |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for step in (overload.unloaded, *overload.steps):
        codes = ", ".join(f"{code} {count}" for code, count in sorted(step.codes.items()))
        lines.append(
            f"| {step.multiple:g}x | {step.asked:.0f} | {step.goodput:.0f} | {overload.kept(step):.2f} | "
            f"{step.p50_ms:.1f} | {step.p99_ms:.1f} | {step.wrong} | {step.broken} | "
            f"{codes} | {step.refusals.without_retry_after} of {step.refusals.statuses.get('503', 0)} |"
        )
    last = overload.steps[-1]
    kept = overload.kept(last)
    lines += [
        "",
        f"At {last.multiple:g}x: {kept:.2f} of the maximum "
        f"(at least {GOODPUT_BAR:g}; {_verdict(kept >= GOODPUT_BAR)}), "
        f"p99 of accepted requests {last.p99_ms:.0f} ms "
        f"(at most {LATENCY_BAR_MS:g}; {_verdict(last.p99_ms <= LATENCY_BAR_MS)}).",
        "",
        f"A burst of {BURST_SECONDS:g} s at {BURST:g}x inside {BASE:g}x: {overload.burst_refused} refused or lost of "
        f"{overload.burst_asked} ({_verdict(not overload.burst_refused)}).",
    ]
    return "\n".join(lines) + "\n"


def heads_table(heads: Heads) -> str:
    """One row a number of connections and heads, then what three cost."""
    lines = [
        "### heads: 640x427 JPEG, three heads on one EfficientNet-Lite0 base, one request",
        "",
        "| connections | heads | requests/s | p50 ms | CPU ms | wrong |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.connections} | {each.heads} | {each.rate:.0f} | {each.p50_ms:.1f} | {each.cpu_ms:.2f} "
        f"| {each.wrong} |"
        for each in heads.figures
    ]
    for connections in sorted({each.connections for each in heads.figures}):
        latency, cpu = heads.ratios(connections)
        verdict = _verdict(max(latency, cpu) <= COST_BAR)
        lines += [
            "",
            f"With {connections} connections three heads take {latency:.2f} times the time and {cpu:.2f} times the CPU "
            f"of one (at most {COST_BAR:g}; {verdict}).",
        ]
    return "\n".join(lines) + "\n"


def write(work: Path, name: str, results: Sequence[Comparison] | Sequence[Overload] | Sequence[Heads]) -> str:
    """Write ``<name>.json`` and ``<name>.md`` into ``work``; return the text of the latter."""
    around = surroundings()
    document = {"surroundings": around, "results": [dataclasses.asdict(each) for each in results]}
    (work / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    tables = [_table(each) for each in results]
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in around.items())
    text = "\n".join([facts + ".", "", *tables])
    (work / f"{name}.md").write_text(text)
    return text


def _table(result: Comparison | Overload | Heads) -> str:
    if isinstance(result, Heads):
        return heads_table(result)
    return comparison_table(result) if isinstance(result, Comparison) else overload_table(result)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"
