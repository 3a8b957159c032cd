"""The architecture page is true: the files that it names exist, and the way of a picture is the one that is taken."""

import asyncio
import re
import sys
import time
from pathlib import Path
from types import FrameType

from headway_serving.core.request_queue import QueueLimits
from headway_serving.gateway.app import create_gateway
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.answer_bytes import DateLine
from headway_serving.gateway.server.connection import Connection, Work
from headway_serving.gateway.server.dispatch import Dispatcher
from tests.integration.gateway.gateway_under_test import CLASSIFY, SMALL_LIMITS, GatewayUnderTest, picture

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PLACES = ("serving/headway_serving", "contract", "serving", ".")


def places_of(name: str) -> list[Path]:
    return [ROOT / place / name for place in PLACES if (ROOT / place / name).exists()]


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"(?<![\w/.])((?:[\w.]+/)+[\w]+\.(?:py|json|md))\b", PAGE))
    assert len(named) > 30
    # What training writes beside a graph lies in the model's own folder.
    assert not [name for name in named if not places_of(name) and not name.startswith("assets.extra/")]


def way_on_the_page() -> list[Path]:
    """The files of the drawn way, in their order."""
    drawn = PAGE.partition("## The way of a picture")[2].partition("```text\n")[2].partition("```")[0]
    return [places_of(line.split()[0])[0] for line in drawn.splitlines()]


def run_through(gateway: GatewayUnderTest) -> list[Path]:
    """The files of ours that run for one picture, from the bytes to the model server, in the order of their turns."""
    ran: list[Path] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        ours = any(part.startswith("headway_") for part in path.parts)
        if event == "call" and ours and path not in ran:
            ran.append(path)

    async def ask() -> Answer:
        loop = asyncio.get_running_loop()
        composed = create_gateway(gateway.parts, SMALL_LIMITS)
        answered: asyncio.Future[Answer] = loop.create_future()
        dispatcher = Dispatcher(composed.app.wsgi_app, composed.posts, QueueLimits(), composed.intake, ("127.0.0.1", 1))
        now, body = time.monotonic(), picture(3)
        connection = Connection(composed.intake, DateLine(), now)
        lines = [f"POST {CLASSIFY} HTTP/1.1", "Content-Type: image/png", f"Content-Length: {len(body)}", "", ""]
        sys.setprofile(note)
        try:
            (decision,) = connection.received("\r\n".join(lines).encode() + body, now)
            assert isinstance(decision, Work)
            dispatcher.begin(loop, decision.request, answered.set_result)
            return await answered
        finally:
            sys.setprofile(None)

    assert asyncio.run(ask()).status == 200
    return ran


def test_the_way_of_a_picture_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    drawn = way_on_the_page()
    assert len(drawn) < 20
    ran = run_through(GatewayUnderTest(tmp_path / "routes.json", None, {}))
    # The sockets and gRPC are not there in this test.
    assert not set(drawn) - set(ran) - {drawn[0], drawn[-1]}
    named = PAGE.partition("## The way of a picture")[2].partition("\n## ")[0]
    missing = [path for path in ran if path not in drawn and path.name not in named and "contract" not in path.parts]
    counting = {
        "prometheus.py",
        "families.py",
        "request_counts.py",
        "observations.py",
        "calls.py",
        "request_trace.py",
        "shadow.py",
    }
    assert {path.name for path in missing} <= counting
