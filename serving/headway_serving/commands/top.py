"""``headway top``: a live table of what gateways do, from their ``/metrics`` alone."""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from headway_serving.adapters.metrics.page_reading import Page, read_page
from headway_serving.operations.live_view import QueueNow, VersionNow, queues_now, versions_now

_DEFAULT_URL = "http://127.0.0.1:8080"
_TIMEOUT_SECONDS = 3.0
_SHORTEST_INTERVAL = 0.2
_HEADS = ("model", "version", "arm", "traffic", "requests/s", "p50", "p99", "errors", "queue", "agreement")
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_REASONS = {
    401: "it asks for a token; set HEADWAY_TOKEN to one with the scope admin",
    403: "the token may not read metrics; set HEADWAY_TOKEN to one with the scope admin",
    404: "no /metrics there; with HEADWAY_ADMIN_PORT they are on that port alone",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Show the table until interrupted. Exit codes: 0 shown; 1 with --once, a gateway was not reached; 2 refused."""
    arguments = _parser().parse_args(argv)
    urls = [url.rstrip("/") for url in arguments.url or [os.environ.get("HEADWAY_URL") or _DEFAULT_URL]]
    token = os.environ.get("HEADWAY_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    live = sys.stdout.isatty() and not (arguments.json or arguments.once)
    with httpx.Client(headers=headers, timeout=_TIMEOUT_SECONDS) as http:
        before, problems = _look(http, urls)
        while True:
            time.sleep(arguments.interval)
            now, problems = _look(http, urls)
            pairs = [(before[url], now[url]) for url in urls if url in now and url in before]
            versions, queues = versions_now(pairs), queues_now(now.values())
            if arguments.json:
                sys.stdout.write(_document(urls, problems, versions, queues) + "\n")
            else:
                _show(_lines(urls, problems, versions, queues), live=live)
            sys.stdout.flush()
            if arguments.once:
                return 1 if problems else 0
            before = before | now


def _look(http: httpx.Client, urls: Sequence[str]) -> tuple[dict[str, Page], dict[str, str]]:
    """The page of each gateway that was reached, and why the others were not."""
    pages, problems = dict[str, Page](), dict[str, str]()
    for url in urls:
        try:
            response = http.get(f"{url}/metrics")
            if response.status_code != httpx.codes.OK:
                problems[url] = _REASONS.get(response.status_code, f"it answers {response.status_code}")
                continue
            pages[url] = read_page(response.text, time.time())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            problems[url] = str(error) or type(error).__name__
    return pages, problems


def _document(
    urls: Sequence[str],
    problems: Mapping[str, str],
    versions: Sequence[VersionNow],
    queues: Mapping[str, QueueNow],
) -> str:
    document: dict[str, Any] = {
        "at": round(time.time(), 3),
        "gateways": [{"url": url, "problem": problems.get(url)} for url in urls],
        "versions": [dataclasses.asdict(version) for version in versions],
        "queues": {model: dataclasses.asdict(queue) for model, queue in queues.items()},
    }
    return json.dumps(document, ensure_ascii=False)


def _lines(
    urls: Sequence[str],
    problems: Mapping[str, str],
    versions: Sequence[VersionNow],
    queues: Mapping[str, QueueNow],
) -> list[str]:
    reached = len(urls) - len(problems)
    lines = [f"{time.strftime('%H:%M:%S')}  {reached} of {len(urls)} gateways, "
             f"{sum(version.requests for version in versions):.1f} requests/s"]  # fmt: skip
    lines += [f"NOT REACHED {url}: {problem}" for url, problem in problems.items()]
    table, queued = [_HEADS], set[str]()
    for version in versions:
        # The queue is the model's: it stands in the model's first line.
        queue = None if version.model in queued else queues.get(version.model)
        queued.add(version.model)
        table.append((version.model, version.version, version.arm, _per_cent(version.traffic, 0),
                      f"{version.requests:.1f}", _milliseconds(version.p50), _milliseconds(version.p99),
                      _per_cent(version.errors, 2), _queue(queue), _per_cent(version.agreement, 1)))  # fmt: skip
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS))]
    lines += ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if reached and not versions:
        lines.append("no model is routed")
    return lines


def _show(lines: Sequence[str], *, live: bool) -> None:
    shown = ["".join(each if each.isprintable() else "?" for each in line) for line in lines]
    if live:
        # Over what is there, line by line: clearing the screen first would flicker over a slow connection.
        sys.stdout.write(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in shown) + _REST_OF_SCREEN)
    else:
        sys.stdout.write("\n".join(shown) + "\n")


def _per_cent(share: float | None, digits: int) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _queue(queue: QueueNow | None) -> str:
    if queue is None:
        return ""
    return f"{queue.waiting} + {queue.serving}/{queue.limit}" + (" SHEDDING" if queue.shedding else "")


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST_INTERVAL <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {_SHORTEST_INTERVAL:g} to 3600")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway top",
        description="A live table of versions and arms: requests a second, p50 and p99, errors, the queue (waiting + "
        "worked on / most), agreement of a shadow; from the gateways' /metrics alone. Ctrl-C ends it.",
    )
    parser.add_argument("--url", action="append", help="a gateway, repeatable (default: the environment's HEADWAY_URL, "
                        f"else {_DEFAULT_URL}); HEADWAY_TOKEN is sent to it")  # fmt: skip
    parser.add_argument("--interval", type=_interval, default=2.0, metavar="SECONDS",
                        help="between two looks (default: %(default)g)")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="show one interval and end; 1 if a gateway was not reached")
    parser.add_argument("--json", action="store_true", help="one object a look instead of the table")
    return parser
