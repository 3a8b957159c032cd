"""`headway feedback`: the truth about answers, one by options or many from the lines of `headway classify --json`.

Exit codes: 0 all were counted, now or before; 1 some were ignored, or the gateway failed; 2 wrong usage, or a line that
cannot be used (nothing is sent then).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from headway_client.client import DEFAULT_TIMEOUT, Client
from headway_client.environment import gateway_url, token_header
from headway_client.errors import HeadwayError, UnsupportedInput
from headway_client.printable import printable
from headway_client.protocol import MOST_FEEDBACK
from headway_client.results import Feedback, FeedbackTally

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
STDIN = "-"
ARMS = ("stable", "candidate", "pinned")


class _Unusable(Exception):
    """The arguments, or a line of answers, cannot be used; the text says which and why."""


def main(argv: list[str]) -> int:
    """Send the feedback that the arguments name and return the exit code."""
    args = _parser().parse_args(argv)
    try:
        items = _from_lines(args) if args.answers else [_from_options(args)]
        client = Client(args.url, timeout=args.timeout, headers=token_header())
    except (_Unusable, UnsupportedInput) as error:
        _complain(str(error))
        return EXIT_USAGE
    with client:
        try:
            tallies = [(start, client.feedback(part)) for start, part in _parts(items)]
        except HeadwayError as error:
            _complain(str(error))
            return EXIT_FAILED
    return _report(tallies)


def _report(tallies: Sequence[tuple[int, FeedbackTally]]) -> int:
    right, wrong, duplicates = (
        sum(getattr(tally, name) for _, tally in tallies) for name in ("right", "wrong", "duplicates")
    )
    ignored = [(start + each.position, each) for start, tally in tallies for each in tally.ignored]
    sys.stdout.write(
        f"{right + wrong} counted: {right} right, {wrong} wrong; {duplicates} told before, {len(ignored)} ignored\n"
    )
    for place, each in ignored:
        _complain(f"{place + 1}: ignored: {each.detail} [{each.code}]")
    return EXIT_FAILED if ignored else 0


def _parts(items: Sequence[Feedback]) -> Iterator[tuple[int, list[Feedback]]]:
    """What fits one request each, and the place of its first one."""
    start = 0
    for _, group in groupby(items, key=lambda item: item.model):
        of_model = list(group)
        for first in range(0, len(of_model), MOST_FEEDBACK):
            yield start + first, of_model[first : first + MOST_FEEDBACK]
        start += len(of_model)


def _from_options(args: argparse.Namespace) -> Feedback:
    needed = {"MODEL": args.model, "--version": args.version, "--label": args.label, "--truth": args.truth,
              "--request-id": args.request_id}  # fmt: skip
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise _Unusable(f"missing {', '.join(missing)}; give what the answer said, or --answers FILE")
    return Feedback(args.model, args.version, args.arm, args.request_id, args.label, args.truth, args.index,
                    args.key_position)  # fmt: skip


def _from_lines(args: argparse.Namespace) -> list[Feedback]:
    try:
        text = sys.stdin.read() if args.answers == STDIN else Path(args.answers).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _Unusable(f"{args.answers} cannot be read: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise _Unusable(f"{args.answers} has no line; each is an answer of headway classify --json")
    return [_from_line(line, f"line {number}", args) for number, line in lines]


def _from_line(line: str, where: str, args: argparse.Namespace) -> Feedback:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise _Unusable(f"{where} is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise _Unusable(f"{where} is no object; a line of headway classify --json is needed")
    if "truth" not in answer and args.truth is None:
        raise _Unusable(f"{where} has no truth; add the key truth to it, or give --truth for all lines")
    model = answer.get("model", args.model)
    if args.model not in (None, model):
        raise _Unusable(f"{where} is an answer of {model}, not of {args.model}")
    try:
        return Feedback(
            model=_typed(model, str, "model"),
            version=_typed(answer.get("version"), int, "version"),
            arm=_typed(answer.get("arm"), str, "arm"),
            request_id=_typed(answer.get("request_id"), str, "request_id"),
            label=_typed(answer["label"] if "label" in answer else _best(answer), str, "label"),
            truth=_typed(answer.get("truth", args.truth), str, "truth"),
            index=_typed(answer.get("index", 0), int, "index"),
            key_position=_share(answer.get("key_position"), "key_position"),
        )
    except ValueError as error:
        raise _Unusable(f"{where}: {error}") from error


def _best(answer: dict[str, Any]) -> Any:
    """The label of the first prediction, or None."""
    predictions = answer.get("predictions")
    first = predictions[0] if isinstance(predictions, list) and predictions else None
    return first.get("label") if isinstance(first, dict) else None


def _typed(value: Any, kind: type[T], name: str) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is missing or no {'text' if kind is str else 'whole number'}")
    return value


def _share(value: Any, name: str) -> float | None:
    if isinstance(value, bool) or not (value is None or (isinstance(value, int | float) and 0 <= value <= 1)):
        raise ValueError(f"{name} is no number from 0 to 1")
    return value


def _complain(message: str) -> None:
    sys.stderr.write(f"headway feedback: {printable(message)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway feedback",
        description="Tell a gateway the truth about its answers: right and wrong are counted by version and arm.",
        epilog="Exit code: 0 all counted, now or before; 1 some ignored or the gateway failed; 2 usage.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="the model that answered")
    parser.add_argument("--version", type=_whole, metavar="N", help="the version that answered")
    parser.add_argument("--label", metavar="CLASS", help="the class that it answered")
    parser.add_argument("--truth", metavar="CLASS", help="the right class; with --answers: of lines without their own")
    parser.add_argument("--request-id", metavar="ID", help="the answer's request_id; each is counted once")
    parser.add_argument("--arm", choices=ARMS, default="stable", help="the answer's arm (default: %(default)s)")
    parser.add_argument("--index", type=_whole, default=0, metavar="I",
                        help="the picture's place in its request (default: %(default)s)")  # fmt: skip
    parser.add_argument("--key-position", type=float, metavar="P", help="the answer's key_position, if it has one")
    parser.add_argument("--answers", metavar="FILE",
                        help="lines of headway classify --json, each with a truth; - for standard input")  # fmt: skip
    parser.add_argument(
        "--url",
        default=gateway_url(),
        help="the gateway (default: the environment's HEADWAY_URL, else %(default)s); HEADWAY_TOKEN is sent to it",
    )
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, metavar="SECONDS",
                        help="for each request (default: %(default)g)")  # fmt: skip
    return parser


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
