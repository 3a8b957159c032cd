"""`headway classify`: pictures in, one line each out.

Exit codes: 0 every image was classified; 1 an image or the gateway failed; 2 wrong usage or a missing file.
One bad image does not stop the others; a gateway that cannot be reached does.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from headway_client.client import DEFAULT_TIMEOUT, Client
from headway_client.environment import gateway_url, token_header
from headway_client.errors import ConnectionFailed, HeadwayError, UnsupportedInput
from headway_client.printable import printable
from headway_client.results import Classification, ModelInfo, Prediction

EXIT_FAILED = 1
EXIT_USAGE = 2
STDIN = "-"

# One very long class name should not push every score out of sight.
_WIDEST_LABEL = 24

Classify = Callable[[bytes], Classification]
Render = Callable[[str, Classification], str]


def main(argv: list[str]) -> int:
    """Classify the images that the arguments name and return the exit code."""
    args = _parser().parse_args(argv)
    images = _readable(args.images)
    if not images:
        return EXIT_USAGE
    try:
        client = Client(args.url, timeout=args.timeout, headers=token_header())
    except UnsupportedInput as error:
        _complain(str(error))
        return EXIT_USAGE
    with client:
        code = _run(client, args, images)
    return code if len(images) == len(args.images) else EXIT_USAGE


def _run(client: Client, args: argparse.Namespace, images: list[str]) -> int:
    try:
        # Asked first, so that a wrong URL or model is reported once and not once for each image.
        model = client.model(args.model)
    except HeadwayError as error:
        _complain(str(error))
        return EXIT_FAILED

    def classify(image: bytes) -> Classification:
        return client.classify(
            image,
            model=model.name,
            version=args.version,
            label=args.label,
            top_k=args.top_k,
            min_confidence=args.min_confidence,
        )

    return _classify_all(images, classify, _json_line if args.json else _table(images, model))


def _classify_all(images: list[str], classify: Classify, render: Render) -> int:
    code = 0
    for done, path in enumerate(images):
        try:
            answer = classify(_read(path))
        except ConnectionFailed as error:
            _complain(f"{_shown(path)}: {error}; {len(images) - done} of {len(images)} images were not classified")
            return EXIT_FAILED
        except (HeadwayError, OSError) as error:
            _complain(f"{_shown(path)}: {error}")
            code = EXIT_FAILED
        else:
            sys.stdout.write(render(path, answer) + "\n")
            # A reader of the pipe sees each answer as it comes.
            sys.stdout.flush()
    return code


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()


def _readable(paths: list[str]) -> list[str]:
    """The paths that can be read; the others are complained about."""
    faults = {path: _fault(path) for path in paths}
    for path, fault in faults.items():
        if fault:
            _complain(f"{_shown(path)}: {fault}")
    return [path for path in paths if not faults[path]]


def _fault(path: str) -> str | None:
    if path == STDIN:
        return None
    if not Path(path).exists():
        return "there is no such file; check the path"
    if Path(path).is_dir():
        return "is a folder; name the pictures in it"
    return None if os.access(path, os.R_OK) else "may not be read; check its permissions"


def _json_line(path: str, answer: Classification) -> str:
    result = answer.results[0]
    record = {
        "path": _text(path),  # JSON escapes what it must
        "model": answer.model,
        "version": answer.version,
        "arm": answer.arm,
        **({} if answer.key_position is None else {"key_position": answer.key_position}),
        "predictions": [{"label": each.label, "score": each.score} for each in result.predictions],
        **({} if result.familiarity is None else {"familiarity": result.familiarity}),
        **({} if result.abstained is None else {"abstained": result.abstained}),
        "request_id": answer.request_id,
    }
    return json.dumps(record)


def _table(images: list[str], model: ModelInfo) -> Render:
    """Lines whose columns fit every path and class that may come, so that each can be printed at once."""
    path_width = max(len(_shown(path)) for path in images)
    label_width = min(_WIDEST_LABEL, max((len(printable(name)) for name in model.classes), default=0))
    dim, plain = ("\x1b[2m", "\x1b[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")

    def line(path: str, answer: Classification) -> str:
        result = answer.results[0]
        best, *others = result.predictions or (None,)
        start = f"{_shown(path):<{path_width}}  "
        if best is None:
            least = "the model's own threshold" if result.abstained else "the minimum confidence"
            return f"{start}{dim}no class reached {least}{plain}"
        runners_up = ", ".join(f"{printable(each.label)} {_per_cent(each)}" for each in others if each)
        tail = f"   {dim}{runners_up}{plain}" if runners_up else ""
        if result.familiarity is not None and result.familiarity < (model.least_familiar or 0):
            tail += f"   {dim}unlike the pictures that the model learned from{plain}"
        return f"{start}{printable(best.label):<{label_width}}  {_per_cent(best):>8}{tail}"

    return line


def _per_cent(prediction: Prediction) -> str:
    return f"{100 * prediction.score:.2f} %"


def _shown(path: str) -> str:
    # File names are bytes; those that are no UTF-8 could not be printed as they are.
    return printable(_text(path))


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _complain(message: str) -> None:
    sys.stderr.write(f"headway classify: {printable(message)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway classify",
        description="Classify pictures through a running gateway, one line each.",
        epilog="Exit code: 0 all classified; 1 an image or the gateway failed; 2 usage or a missing file.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture's path, or - for standard input")
    parser.add_argument("--model", help="which model answers (default: the only one served)")
    pin = parser.add_mutually_exclusive_group()
    pin.add_argument("--version", type=int, metavar="N", help="which version answers (default: the routes choose)")
    pin.add_argument("--label", metavar="L", help="which label answers, such as stable or canary")
    parser.add_argument(
        "--url",
        default=gateway_url(),
        help="the gateway (default: the environment's HEADWAY_URL, else %(default)s); HEADWAY_TOKEN is sent to it",
    )
    parser.add_argument("--top-k", type=_count, metavar="K", help="how many classes to show (default: the gateway's)")
    parser.add_argument(
        "--min-confidence",
        type=_least,
        metavar="P",
        help="show no class below this score, 0..1, or below the version's own threshold: model",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="for each image (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per image and line")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _least(text: str) -> float | Literal["model"]:
    if text == "model":
        return "model"
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1, or model")


def _seconds(text: str) -> float:
    return _number(text, lambda value: 0 < value < math.inf, "a number of seconds above 0")


def _number(text: str, fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
