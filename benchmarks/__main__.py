"""``make bench``: Headway beside the plain services; ``make bench-overload``: Headway at three times what saturates it.

``python -m benchmarks heads``: what three heads on one base cost beside one.
``python -m benchmarks observability``: what metrics, logs and traces cost.

Models, pictures, logs and results stay in ``.bench``.
"""

import argparse
import sys

from benchmarks import results
from benchmarks.cases import CASES
from benchmarks.comparison import compare
from benchmarks.heads import compare_heads
from benchmarks.observability import measure_observability, observability_table
from benchmarks.overload import overload
from benchmarks.shared_bench import ROOT, CannotMeasure, prepare


def main() -> int:
    """Measure and report. Exit codes: 0; 1 if any answer was wrong; 2 if something needed is not there."""
    arguments = _arguments()
    work = ROOT / ".bench"
    try:
        bench = prepare(work)
        cases = [CASES[name] for name in getattr(arguments, "cases", ())]
        if arguments.command == "heads":
            heads = compare_heads(bench, work, arguments.rounds, arguments.seconds)
            wrong = sum(each.wrong for each in heads.figures)
            text = results.write(work, "heads", [heads])
        elif arguments.command == "observability":
            watchings = measure_observability(
                bench, work, arguments.rounds, arguments.seconds, with_lines=arguments.lines
            )
            wrong, text = sum(each.wrong for each in watchings), observability_table(watchings)
        elif arguments.command == "compare":
            comparisons = [
                each for case in cases for each in compare(case, bench, work, arguments.rounds, arguments.seconds)
            ]
            wrong = sum(figures.wrong for each in comparisons for figures in each.figures)
            text = results.write(work, "comparison", comparisons)
        else:
            overloads = [overload(case, bench, work, arguments.seconds) for case in cases]
            wrong = sum(step.wrong for each in overloads for step in each.steps)
            text = results.write(work, "overload", overloads)
    except CannotMeasure as problem:
        sys.stderr.write(f"benchmarks: {problem}\n")
        return 2
    print(text, flush=True)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compared = commands.add_parser("compare", help="answers a second, latency and CPU beside the plain services")
    compared.add_argument("--rounds", type=int, default=5, help="rounds, each with every system once (default: 5)")
    overloaded = commands.add_parser("overload", help="goodput and latency at 1, 2 and 3 times the saturating load")
    headed = commands.add_parser("heads", help="what three heads on one base cost beside one")
    headed.add_argument("--rounds", type=int, default=5, help="rounds, each with every number of heads (default: 5)")
    headed.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: 4)")
    watched = commands.add_parser("observability", help="what metrics, logs and traces cost")
    watched.add_argument("--lines", action="store_true", help="also with a line for each classification, or for some")
    watched.add_argument("--rounds", type=int, default=9, help="rounds, each with every way (default: 9)")
    watched.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: 4)")
    for command, seconds, cases in ((compared, 5.0, list(CASES)), (overloaded, 10.0, ["digits", "photos"])):
        command.add_argument(
            "--seconds", type=float, default=seconds, help=f"of each measurement (default: {seconds:g})"
        )
        command.add_argument(
            "--cases", nargs="+", choices=list(CASES), default=cases, help="which (default: %(default)s)"
        )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
