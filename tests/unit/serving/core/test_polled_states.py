"""States by one poll for all who ask: few calls, soon enough, and a server that is away is not asked for each model."""

import threading
from collections import Counter

import pytest

from headway_serving.core import polled_states
from headway_serving.core.errors import ModelUnavailable
from headway_serving.core.polled_states import PolledStates
from tests.support.waiting import eventually


class Server:
    """A model server whose states can be set, and which counts what it is asked."""

    def __init__(self) -> None:
        self.states: dict[int, str] = {1: "AVAILABLE"}
        self.away = False
        self.asked: Counter[str] = Counter()

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        del timeout
        self.asked[model] += 1
        if self.away:
            raise ModelUnavailable("away")
        return dict(self.states)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    # Rounds as far apart as in a process would make the test slow.
    monkeypatch.setattr(polled_states, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(polled_states, "CHANGING_SECONDS", 0.01)
    return Server()


def test_who_asks_often_costs_no_calls(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_states, "SETTLED_SECONDS", 60)
    states = PolledStates(server)
    for _ in range(100):
        assert states.version_states("digits", 1.0) == {1: "AVAILABLE"}
    # The first who asked, and the first round.
    assert server.asked["digits"] <= 2


def test_a_change_is_seen_in_the_next_round(server: Server) -> None:
    states = PolledStates(server)
    states.version_states("digits", 1.0)
    server.states = {1: "AVAILABLE", 2: "AVAILABLE"}
    eventually(lambda: states.version_states("digits", 1.0) == server.states, "the new version is seen")
    server.away = True

    def refused() -> bool:
        try:
            states.version_states("digits", 1.0)
        except ModelUnavailable:
            return True
        return False

    eventually(refused, "that the server is away is seen")
    server.away = False
    eventually(lambda: not refused(), "that it is back is seen")


def test_a_server_that_is_away_is_asked_once_a_round(server: Server) -> None:
    states = PolledStates(server)
    for name in ("a", "b", "c"):
        states.version_states(name, 1.0)
    server.away = True
    before = server.asked["a"]
    eventually(lambda: server.asked["a"] > before + 10, "some rounds have passed")
    # One round may have begun before it was away, and asked of one more in the middle.
    assert server.asked["b"] + server.asked["c"] - 2 * before < 10


def test_the_poll_ends_when_nobody_asks_and_begins_again(server: Server) -> None:
    now = [0.0]
    others = set(threading.enumerate())
    states = PolledStates(server, clock=lambda: now[0])

    def polling() -> bool:
        return any(each.name == "version-states" for each in set(threading.enumerate()) - others)

    states.version_states("digits", 1.0)
    assert polling()
    now[0] = 1000.0
    eventually(lambda: not polling(), "the poll has ended")
    assert states.version_states("digits", 1.0) == {1: "AVAILABLE"}
    assert polling()
    now[0] = 2000.0
