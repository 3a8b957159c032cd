"""``headway dashboard``: the boards for Grafana, printed or written."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headway_contract.durable_files import write_atomically

FOLDER = Path(__file__).resolve().parent / "dashboards"
"""Made by ``make monitoring``; ``deploy/grafana`` leads here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print one board, or write all or one. Exit codes: 0 done, 2 refused."""
    boards = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    arguments = _parser(list(boards)).parse_args(argv)
    if arguments.name is not None and arguments.name not in boards:
        return _refuse(f"there is no board {arguments.name!r}; there are {', '.join(boards)}")
    chosen = boards if arguments.name is None else {arguments.name: boards[arguments.name]}
    if arguments.out is None:
        if arguments.name is None:
            sys.stdout.write("".join(f"{name}\n" for name in boards))
        else:
            sys.stdout.write(chosen[arguments.name].read_text(encoding="utf-8"))
        return 0
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for path in chosen.values():
            write_atomically(arguments.out / path.name, path.read_bytes())
            sys.stdout.write(f"{arguments.out / path.name}\n")
    except OSError as error:
        return _refuse(f"{arguments.out} cannot be written: {error}; give another --out")
    return 0


def _refuse(message: str) -> int:
    sys.stderr.write(f"headway dashboard: {message}\n")
    return 2


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway dashboard",
        description="Boards for Grafana, over what Prometheus scrapes from Headway. Without NAME and --out: "
        "the names. Grafana takes them by Dashboards, New, Import, or as provisioned files.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"one of {', '.join(names)}; with --out: default all")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write NAME.json there instead of printing")
    return parser
