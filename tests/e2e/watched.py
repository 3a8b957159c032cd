"""Real gateways and models beside a real Prometheus that evaluates our rules in scaled time, and people who ask."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from headway_contract.durable_files import write_atomically
from tests.e2e.rollout_line import Line
from tests.support.threads import Repeating


@dataclass
class Watched:
    """``prometheus``: its URL. ``began``: Unix time from which something was scraped."""

    line: Line
    prometheus: str
    began: float = field(default_factory=time.time)

    def get(self, path: str, **parameters: object) -> Any:
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params={k: str(v) for k, v in parameters.items()},
                           timeout=10).json()  # fmt: skip
        assert answer["status"] == "success", answer
        return answer["data"]

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.get("alerts")["alerts"] if each["state"] == "firing"}

    def fired(self, since: float) -> set[str]:
        """The names of the alerts that fired at any time since."""
        found = self.get("query_range", query='ALERTS{alertstate="firing"}', start=since, end=time.time(), step="0.5")
        return {each["metric"]["alertname"] for each in found["result"]}

    def answers(self, query: str) -> bool:
        """Whether the query had a number at any time of the run."""
        found = self.get("query_range", query=query, start=self.began, end=time.time(), step="1")
        return any(value not in ("NaN", "+Inf") for each in found["result"] for _, value in each["values"])

    def until(self, what: Callable[[set[str]], bool], seconds: float) -> set[str]:
        """Wait until that is so of the firing alerts; give all that were seen firing, or fail after so many seconds."""
        began, seen = time.monotonic(), set[str]()
        while not what(firing := self.firing()):
            seen |= firing
            assert time.monotonic() - began < seconds, f"after {seconds} s there fire {firing}"
            time.sleep(0.1)
        return seen | firing


def write_routes(repository: Path, model: str, candidate: int | None = None, shadow: int | None = None) -> None:
    """Version 1 is stable; half of the traffic to the candidate, and copies of all to the shadow; 3 is loaded too."""
    routes: dict[str, Any] = {"stable": 1, "labels": {"spare": 3}}
    if candidate is not None:
        routes["candidate"] = {"version": candidate, "weight": 0.5}
    if shadow is not None:
        routes["shadow"] = {"version": shadow, "share": 1.0}
    write_atomically(repository / "routes.json", json.dumps({"schema": 2, "models": {model: routes}}).encode())


class People(Repeating):
    """Ask quietly, each request under a key of its own; nobody minds a refusal, and some tell the truth."""

    def __init__(self, line: Line, count: int = 4, pause: float = 0.03) -> None:
        super().__init__(count)
        self._line, self._pause = line, pause

    def run(self, number: int, /) -> None:
        url, asked = f"{self._line.served.url}/v1/models/{self._line.model}", 0
        with httpx.Client(timeout=30) as http:
            while not self.stopping.wait(self._pause):
                asked += 1
                picture = self._line.pictures[asked % len(self._line.pictures)]
                headers = {"Content-Type": "image/png", "X-Routing-Key": f"{number}-{asked}"}
                unsure = {"min_confidence": "1"} if asked % 20 == 0 else {}
                with contextlib.suppress(httpx.HTTPError):
                    answer = http.post(f"{url}:classify", content=picture, headers=headers, params=unsure)
                    if answer.status_code == 200 and asked % 10 == 5:
                        http.post(f"{url}:feedback", json=_right(answer.json()))


def _right(answer: dict[str, Any]) -> dict[str, Any]:
    label = answer["results"][0]["predictions"][0]["label"]
    return {key: answer[key] for key in ("version", "arm", "request_id")} | {"label": label, "truth": label}


class Flood(Repeating):
    """Ask for many pictures at a time, and at once again."""

    def __init__(self, line: Line, count: int = 24) -> None:
        super().__init__(count)
        self._line = line

    def run(self, number: int, /) -> None:
        url = f"{self._line.served.url}/v1/models/{self._line.model}:classify"
        picture = self._line.pictures[number % len(self._line.pictures)]
        files = [("image", (f"{each}.png", picture, "image/png")) for each in range(64)]
        with httpx.Client(timeout=30) as http:
            while not self.stopping.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    http.post(url, files=files)


@contextlib.contextmanager
def stopped_writing(path: Path, text: str) -> Iterator[None]:
    """Put a text into a file, and what was there before back afterwards."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)
