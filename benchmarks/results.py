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

from benchmarks.comparison import Comparison
from benchmarks.heads import COST_BAR, Heads
from benchmarks.overload import GOODPUT_BAR, LATENCY_BAR, Overload
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
    case = comparison.case
    lines = [
        f"### {case.name}: {case.pictures}, {case.connections} connections",
        "",
        "| | answers/s (rounds) | p50 ms | p99 ms | CPU ms | accuracy | wrong | refused | broken |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in comparison.figures:
        rounds = ", ".join(f"{rate:.0f}" for rate in each.rates)
        lines.append(
            f"| {each.system} | **{each.rate:.0f}** ({rounds}) | {each.p50_ms:.1f} | {each.p99_ms:.1f} | "
            f"**{each.cpu_ms:.2f}** | {each.accuracy:.3f} | {each.wrong} | {each.refused} | {each.broken} |"
        )
    for ours in comparison.ours:
        ratio, cpu_ratio = comparison.throughput_ratio(ours), comparison.cpu_ratio(ours)
        verdicts = [
            f"{ratio:.2f} times the answers/s of {comparison.better.system} "
            f"(to reach: {case.throughput_bar:g}; {_verdict(ratio >= case.throughput_bar)})",
            f"{cpu_ratio:.2f} of its CPU"
            + (f" (at most {case.cpu_bar:g}; {_verdict(cpu_ratio <= case.cpu_bar)})" if case.cpu_bar else ""),
        ]
        lines += ["", f"{ours.system} has {', '.join(verdicts)}."]
    examples = [f"{each.system}: {each.example}" for each in comparison.figures if each.example]
    return "\n".join([*lines, *(f"First answer not right, {example}" for example in examples)]) + "\n"


def overload_table(overload: Overload) -> str:
    """One row a rate, the unloaded one first."""
    lines = [
        f"### {overload.case.name}: {overload.case.pictures}",
        "",
        f"Saturating load: {overload.saturating:.0f}/s; most right answers seen: {overload.maximum:.0f}/s; "
        f"{overload.connections} connections in a closed loop: {overload.closed:.0f}/s.",
        "",
        "| load | asked/s | right/s | of maximum | p50 ms | p99 ms | of unloaded p99 | wrong | broken | outcomes "
        "| 503 without Retry-After |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for step in (overload.unloaded, *overload.steps):
        codes = ", ".join(f"{code} {count}" for code, count in sorted(step.codes.items()))
        lines.append(
            f"| {step.multiple:g}x | {step.asked:.0f} | {step.goodput:.0f} | {overload.kept(step):.2f} | "
            f"{step.p50_ms:.1f} | {step.p99_ms:.1f} | {overload.slower(step):.1f} | {step.wrong} | {step.broken} | "
            f"{codes} | {step.refusals.without_retry_after} of {step.refusals.statuses.get('503', 0)} |"
        )
    last = overload.steps[-1]
    kept, slower = overload.kept(last), overload.slower(last)
    lines += [
        "",
        f"At {last.multiple:g}x: {kept:.2f} of the maximum "
        f"(at least {GOODPUT_BAR:g}; {_verdict(kept >= GOODPUT_BAR)}), "
        f"p99 of accepted requests {slower:.1f} times the unloaded p99 "
        f"(at most {LATENCY_BAR:g}; {_verdict(slower <= LATENCY_BAR)}).",
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
