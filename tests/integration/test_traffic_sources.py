"""Both sources of a rollout's data say the same of the same traffic: gateways asked directly, and a real Prometheus."""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from headway_serving.adapters.metrics.key_sample import KeyedRequest
from headway_serving.adapters.metrics.observations import Observation as Request
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.adapters.metrics.traffic_window import GatewayMetrics, PrometheusApi, TrafficUnknown
from headway_serving.core.duration_steps import step_of
from headway_serving.core.rollout_traffic import Observation
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Route, RouteTable
from headway_serving.core.shadow import Comparison
from headway_serving.operations.rollout_controller import TrafficSource
from tests.e2e.prometheus import needs_prometheus, scraping
from tests.support.ports import free_port
from tests.support.waiting import eventually

STABLE, CANDIDATE = Route("digits", 1, Arm.STABLE, "weight"), Route("digits", 2, Arm.CANDIDATE, "weight")


class MetricsPage:
    """A gateway's metrics on a port, without the gateway. ``restart`` is a new process: all counters at 0."""

    def __init__(self) -> None:
        self.port = free_port()
        self._keys = 0
        self._server: tuple[WSGIServer, threading.Thread] | None = None
        self.restart()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restart(self) -> None:
        self.stop()
        registry = CollectorRegistry()
        self._metrics = PrometheusMetrics(registry)
        split = ModelRoutes(1, Candidate(2, 0.5))
        self._metrics.watch_route_table(lambda: RouteTable({"digits": split, "letters": split}))
        Gauge("process_start_time_seconds", "As the client library's own", registry=registry).set(time.time())
        self._server = start_http_server(self.port, "127.0.0.1", registry)

    def stop(self) -> None:
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None

    def answered(self, route: Route, count: int, code: str = "ok", seconds: float = 0.005) -> None:
        for number in range(count):
            self._metrics.observe(Request("digits", route, code, 1, seconds, {}))
            keyed = replace(route, position=(self._keys + number) / 2**20)
            self._metrics.observe_key(KeyedRequest(keyed, "stage", code, seconds, seconds / 2, ("3", 0.97)))
        self._keys += count

    def mirrored(self, *comparisons: Comparison, failed: int = 0, dropped: int = 0) -> None:
        self._metrics.compared("digits", 2, list(comparisons))
        self._metrics.not_compared("digits", 2, "error", failed)
        self._metrics.not_compared("digits", 2, "dropped", dropped)


@pytest.fixture
def pages() -> Iterator[list[MetricsPage]]:
    made = [MetricsPage(), MetricsPage()]
    yield made
    for page in made:
        page.stop()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture(params=["gateways", pytest.param("prometheus", marks=needs_prometheus)])
def source(
    request: pytest.FixtureRequest, pages: list[MetricsPage], http: httpx.Client, tmp_path: Path
) -> Iterator[TrafficSource]:
    if request.param == "gateways":
        yield GatewayMetrics([page.url for page in pages], http)
        return
    with scraping([page.url for page in pages], tmp_path) as url:
        yield PrometheusApi(url, http)


def begun(source: TrafficSource) -> float:
    """A window's beginning: what was counted before is noted, and what comes now counts."""
    since = time.time()
    source.mark("digits")
    if isinstance(source, PrometheusApi):
        # What it has scraped once since then.
        time.sleep(3)
    return since


def seen_by(source: TrafficSource, since: float, until: Callable[[Observation], bool]) -> Observation:
    """What the source sees once it has seen it all; Prometheus looks once a second."""
    seen: list[Observation] = []

    def complete() -> bool:
        try:
            seen.append(source.window("digits", 1, 2, since))
        except TrafficUnknown:
            return False
        return until(seen[-1])

    eventually(complete, "the source has seen everything", seconds=30)
    return seen[-1]


def test_rises_are_summed_over_gateways_restarts_and_new_series(
    source: TrafficSource, pages: list[MetricsPage]
) -> None:
    first, second = pages
    first.answered(STABLE, 30)
    second.answered(STABLE, 20)
    second.answered(CANDIDATE, 5, code="prediction_failed")
    seen_by(source, 0.0, lambda seen: seen.stable.requests == 50)
    since = begun(source)

    first.answered(STABLE, 40)
    first.answered(CANDIDATE, 10, seconds=0.3)
    first.answered(CANDIDATE, 3, code="prediction_failed", seconds=0.3)
    second.answered(STABLE, 7)
    partly = seen_by(source, since, lambda seen: seen.stable.requests == 47)
    assert (partly.candidate.requests, partly.candidate.errors) == (13, 3)
    assert partly.stable.errors == 0

    second.restart()
    second.answered(STABLE, 4)
    second.answered(CANDIDATE, 6)
    seen = seen_by(source, since, lambda seen: seen.stable.requests == 51)
    assert (seen.candidate.requests, seen.candidate.errors) == (19, 3)
    sample = seen.candidate.sample
    assert (sample.asked, sample.errors) == (19, 3)
    assert sample.latency == {step_of(0.005): 6, step_of(0.3): 10}
    assert (sample.labels, sample.scores) == ({"3": 16}, {19: 16})
    assert seen.shadow.agree == 0


def test_what_a_gateway_counts_of_a_shadow_is_what_a_rollout_reads(
    source: TrafficSource, pages: list[MetricsPage]
) -> None:
    first, second = pages
    first.mirrored(Comparison("3", "4", 0.5), failed=7)
    second.answered(STABLE, 1)
    seen_by(source, 0.0, lambda seen: (seen.shadow.error, seen.stable.requests) == (7, 1))
    since = begun(source)

    first.mirrored(Comparison("3", "4", 0.75), Comparison("0", "0", 0.25), Comparison("9", "no digit", None), failed=2)
    second.mirrored(Comparison("3", "4", 0.5), Comparison("3", "3", 0.5), dropped=4)
    seen = seen_by(source, since, lambda seen: (seen.shadow.error, seen.shadow.dropped) == (2, 4)).shadow
    assert (seen.agree, seen.disagree) == (2, 3)
    assert seen.flips == {("3", "4"): 2, ("9", "no digit"): 1}
    assert seen.by_class == {"3": 3, "0": 1, "9": 1}
    assert seen.mean_shift == pytest.approx(0.5)


def test_a_model_that_nobody_asked_for_has_no_traffic(source: TrafficSource, pages: list[MetricsPage]) -> None:
    pages[0].answered(STABLE, 3)
    seen_by(source, 0.0, lambda seen: seen.stable.requests == 3)
    seen = source.window("letters", 1, 2, time.time() - 30)
    assert (seen.stable.requests, seen.candidate.requests, seen.candidate.sample.asked) == (0, 0, 0)


def test_one_gateway_that_is_away_costs_only_its_own_data(pages: list[MetricsPage], http: httpx.Client) -> None:
    source = GatewayMetrics([page.url for page in pages], http)
    since = begun(source)
    pages[1].stop()
    pages[0].answered(CANDIDATE, 5)
    assert source.window("digits", 1, 2, since).candidate.requests == 5


def test_the_rate_of_requests_is_known_before_anybody_is_shifted(
    source: TrafficSource, pages: list[MetricsPage]
) -> None:
    busy = threading.Event()

    def ask() -> None:
        while not busy.wait(0.1):
            pages[0].answered(STABLE, 2)
            pages[1].answered(STABLE, 3)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        eventually(lambda: _answers(source), "the source answers")
        time.sleep(3)
        assert 10 < source.rate("digits") < 60
    finally:
        busy.set()
        asking.join()


def test_gateways_that_do_not_route_the_model_are_no_source(source: TrafficSource) -> None:
    eventually(lambda: _answers(source), "the source answers")
    with pytest.raises(TrafficUnknown, match="routes 'numbers'"):
        source.rate("numbers")


def _answers(source: TrafficSource) -> bool:
    try:
        source.rate("digits")
    except TrafficUnknown:
        return False
    return True


def test_a_gateway_that_is_asked_by_two_names_is_counted_once(pages: list[MetricsPage], http: httpx.Client) -> None:
    source = GatewayMetrics([pages[0].url, f"http://localhost:{pages[0].port}"], http)
    since = begun(source)
    pages[0].answered(STABLE, 7)
    assert source.window("digits", 1, 2, since).stable.requests == 7


@needs_prometheus
def test_a_gateway_that_two_jobs_scrape_is_counted_once(
    pages: list[MetricsPage], http: httpx.Client, tmp_path: Path
) -> None:
    with scraping([pages[0].url, f"http://localhost:{pages[0].port}", pages[1].url], tmp_path) as url:
        source = PrometheusApi(url, http)
        pages[1].answered(STABLE, 1)
        eventually(lambda: _answers(source), "the source answers")
        since = begun(source)
        pages[0].answered(STABLE, 7)
        time.sleep(3)
        assert source.window("digits", 1, 2, since).stable.requests == 7


@needs_prometheus
def test_a_prometheus_that_scrapes_no_more_is_no_source(
    pages: list[MetricsPage], http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scraping([page.url for page in pages], tmp_path) as url:
        source = PrometheusApi(url, http)
        eventually(lambda: _answers(source), "the source answers")
        later = time.time() + 90
        monkeypatch.setattr("headway_serving.adapters.metrics.traffic_window.time.time", lambda: later)
        with pytest.raises(TrafficUnknown, match=r"scraped a gateway [0-9]+ s ago for the last time"):
            source.window("digits", 1, 2, later - 60)


class _Silent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot{what}")


@pytest.mark.parametrize("make", [GatewayMetrics, lambda urls, http: PrometheusApi(urls[0], http)])
def test_a_source_that_cannot_be_read_says_so(
    make: Callable[[list[str], httpx.Client], TrafficSource], http: httpx.Client
) -> None:
    with pytest.raises(TrafficUnknown, match=r"127\.0\.0\.1"):
        make([f"http://127.0.0.1:{free_port()}"], http).window("digits", 1, 2, 0.0)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(TrafficUnknown, match=r"127\.0\.0\.1"):
                make([f"http://127.0.0.1:{server.server_address[1]}"], http).window("digits", 1, 2, 0.0)
        finally:
            server.shutdown()
            thread.join()


def test_every_address_of_a_name_is_a_gateway(pages: list[MetricsPage], http: httpx.Client) -> None:
    source = GatewayMetrics([f"dns+http://localhost:{pages[0].port}"], http)
    since = begun(source)
    pages[0].answered(STABLE, 2)
    assert source.window("digits", 1, 2, since).stable.requests == 2
    with pytest.raises(TrafficUnknown, match="no gateway at dns"):
        GatewayMetrics(["dns+http://no-such-host.invalid:80"], http).mark("digits")
