"""A real gateway under requests of ill will: 2xx or 4xx with a problem, no growth of memory, and it still answers.

``HEADWAY_FUZZ_BODIES`` says how many requests are sent; the acceptance of a release takes 50000.
"""

import contextlib
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.golden.golden_set import CASES
from tests.integration.gateway.gateway_under_test import CLASSIFY, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway, response_on
from tests.integration.gateway.request_fuzzer import FuzzedRequest, RequestFuzzer
from tests.support.waiting import eventually

BODIES = int(os.environ.get("HEADWAY_FUZZ_BODIES", "3000"))
CLIENTS = 4
PICTURES = [picture(3), *(path.read_bytes() for path in sorted({case.path for case in CASES}))]
BY_THE_SERVER = {400, 414, 431}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("fuzz"), MAX_BODY_BYTES=300_000, MAX_IMAGE_PIXELS=1_000_000) as running:
        yield running


def check(request: FuzzedRequest, response: bytes) -> str:
    """The status and code of an answer, which must be a success or a problem that blames the request."""
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    told = (request, response[:1000])
    if 200 <= status < 300:
        return str(status)
    if not body and b"x-request-id" not in head.lower():
        assert status in BY_THE_SERVER, told
        return f"{status} by the server"
    # Its own deadline may be too short for anybody.
    assert 400 <= status < 500 or (status == 504 and b"timeout-ms" in request.data.lower()), told
    assert b"application/problem+json" in head, told
    problem = json.loads(body)
    assert problem["status"] == status, told
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}, told
    return f"{status} {problem['code']}"


class Client:
    """Sends requests one after the other, on one connection as long as it stays open."""

    def __init__(self, gateway: LiveGateway) -> None:
        self._gateway = gateway
        self._connection: socket.socket | None = None

    def ask(self, request: FuzzedRequest) -> str:
        if not request.framed:
            return self._ask_raw(request)
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = self._gateway.connect()
            try:
                self._connection.sendall(request.data)
                response = response_on(self._connection)
            # The server may close a connection after any answer; on a fresh one it must answer.
            except (ConnectionError, AssertionError):
                if fresh:
                    raise
                continue
            if b"connection: close" in response.lower():
                self.close()
            return check(request, response)
        raise AssertionError("unreachable")

    def _ask_raw(self, request: FuzzedRequest) -> str:
        with self._gateway.connect() as connection:
            # It may be answered, and closed, before all of it is sent.
            with contextlib.suppress(OSError):
                connection.sendall(request.data)
                connection.shutdown(socket.SHUT_WR)
            return check(request, response_on(connection))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def fuzz(gateway: LiveGateway, seed: int, count: int) -> Counter[str]:
    """Send ``count`` requests from several clients; how often each answer came."""
    answers: Counter[str] = Counter()
    failures: list[BaseException] = []

    def run(number: int) -> None:
        client = Client(gateway)
        try:
            for request in RequestFuzzer(PICTURES, seed * CLIENTS + number).requests(count // CLIENTS):
                answer = client.ask(request)
                answers[f"{request.kind}: {answer}"] += 1
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return answers


@pytest.mark.timeout(3600)
def test_fuzzed_requests_are_refused_and_nothing_grows(gateway: LiveGateway) -> None:
    # What one of each kind needs is no growth.
    fuzz(gateway, seed=1, count=max(1000, BODIES // 10))
    before = gateway.memory()
    answers = fuzz(gateway, seed=2, count=BODIES)
    after = gateway.memory()
    for answer, count in sorted(answers.items()):
        print(f"{count:7} {answer}")  # noqa: T201  # shown when it fails, and with -s
    print(f"memory: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")  # noqa: T201
    assert answers.total() == BODIES // CLIENTS * CLIENTS
    assert after <= before * 1.1
    assert gateway.process.poll() is None
    eventually(gateway.ready, "the gateway is ready")
    assert Client(gateway).ask(good_request()) == "200"
    log = gateway.log.read_text()
    assert "Traceback" not in log
    assert "panic" not in log


def good_request() -> FuzzedRequest:
    body = picture(3)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    return FuzzedRequest("good", head.encode() + body)
