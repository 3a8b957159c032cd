"""`kill -9` of the model server under load: it is started again, and the gateway says so meanwhile."""

import signal
import time
from pathlib import Path

import httpx
import psutil

from tests.e2e.conftest import Trained
from tests.e2e.running import Served, serving
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.threads import Repeating
from tests.support.waiting import eventually

THREADS = 8


class Clients(Repeating):
    """People who classify one picture after the other; what they were answered, and when."""

    def __init__(self, served: Served, picture: bytes) -> None:
        super().__init__(THREADS)
        self.answers: list[tuple[float, httpx.Response]] = []
        self.failures: list[Exception] = []
        self._served = served
        self._picture = picture

    def answered(self, status: int, since: float) -> bool:
        """Whether a request that began at or after `since` (`time.monotonic`) was answered with `status`."""
        return any(answer.status_code == status for began, answer in list(self.answers) if began >= since)

    def run(self, _: int) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                answer = self._served.classify(HEAD, self._picture)
            except httpx.HTTPError as error:
                self.failures.append(error)
                continue
            self.answers.append((began, answer))
            if answer.status_code != 200:
                time.sleep(0.05)


def test_kill_9_under_load_is_answered_with_503_and_retry_after_until_the_server_is_back(
    trained: Trained, tmp_path: Path
) -> None:
    repository = copied(trained, tmp_path)
    picture = trained.samples[HEAD][0].read_bytes()
    with serving(repository.root, tmp_path / "log") as served, Clients(served, picture) as clients:
        eventually(lambda: clients.answered(200, since=0), "answers under load")
        killed = served.child("headway_serving.modelserver")
        killed.send_signal(signal.SIGKILL)
        at = time.monotonic()
        eventually(lambda: clients.answered(503, since=at), "the gateway says that the model server is away")
        assert httpx.get(f"{served.url}/livez").status_code == 200
        eventually(lambda: not psutil.pid_exists(killed.pid), "the killed process is gone")
        eventually(lambda: clients.answered(200, since=at), "the model server answers again")
        eventually(served.ready, "the gateway is ready again")
    assert clients.failures == [], "the gateway itself answered throughout"
    for _, answer in clients.answers:
        assert answer.status_code in (200, 503)
        if answer.status_code == 503:
            assert answer.json()["code"] == "model_unavailable"
            assert int(answer.headers["Retry-After"]) >= 1


def test_a_model_server_that_stands_still_costs_each_request_its_own_time_and_no_more(
    trained: Trained, tmp_path: Path
) -> None:
    repository = copied(trained, tmp_path)
    picture = trained.samples[HEAD][0].read_bytes()
    patience = {"HEADWAY_REQUEST_TIMEOUT_MS": "1000"}
    with (
        serving(repository.root, tmp_path / "log", environment=patience) as served,
        Clients(served, picture) as clients,
    ):
        eventually(lambda: clients.answered(200, since=0), "answers under load")
        stopped = served.child("headway_serving.modelserver")
        stopped.send_signal(signal.SIGSTOP)
        at = time.monotonic()
        eventually(lambda: clients.answered(504, since=at), "requests end at their deadline")
        assert httpx.get(f"{served.url}/livez").status_code == 200
        stopped.send_signal(signal.SIGCONT)
        returned = time.monotonic()
        eventually(lambda: clients.answered(200, since=returned), "the model server answers again")
        settled = time.monotonic()
        eventually(lambda: sum(began >= settled for began, _ in list(clients.answers)) >= 50, "more answers")
    assert clients.failures == []
    statuses = {answer.status_code for _, answer in clients.answers}
    assert statuses <= {200, 503, 504}
    for _, answer in clients.answers:
        assert answer.status_code == 200 or answer.headers["Content-Type"] == "application/problem+json"
    assert {answer.status_code for began, answer in clients.answers if began >= settled} == {200}
