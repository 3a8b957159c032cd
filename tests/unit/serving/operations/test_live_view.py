import math

import pytest

from headway_serving.adapters.metrics.page_reading import Page, read_page
from headway_serving.operations.live_view import quantile, queues_now, versions_now

BUILD = 'headway_build_info{{process="{process}",version="1"}} 1\n'


def page(text: str, at: float = 0.0, process: str = "p") -> Page:
    return read_page(BUILD.format(process=process) + text, at)


def counted(requests: int, failed: int = 0) -> str:
    labels = 'model="m",version="2",arm="stable"'
    return (
        f'headway_requests_total{{{labels},code="ok"}} {requests}\n'
        f'headway_requests_total{{{labels},code="overloaded"}} {failed}\n'
        f'headway_requests_total{{{labels},code="invalid_image"}} {failed}\n'
        f'headway_request_seconds_bucket{{{labels},le="0.1"}} {requests}\n'
        f'headway_request_seconds_bucket{{{labels},le="+Inf"}} {requests}\n'
    )


def test_rates_are_those_between_the_two_pages() -> None:
    (version,) = versions_now([(page(counted(100)), page(counted(130, failed=10), at=2.0))])
    assert (version.model, version.version, version.arm) == ("m", "2", "stable")
    assert version.requests == 25.0
    assert version.errors == pytest.approx(0.2)  # bad pictures are no failure of the service
    assert version.p50 == pytest.approx(0.05)


def test_gateways_are_added() -> None:
    one = (page(counted(0)), page(counted(10), at=1.0))
    other = (page(counted(0), process="q"), page(counted(30), at=1.0, process="q"))
    assert versions_now([one, other])[0].requests == 40.0


def test_a_gateway_that_was_started_again_begins_at_0() -> None:
    assert versions_now([(page(counted(1000)), page(counted(4), at=2.0, process="new"))])[0].requests == 2.0


def test_arms_without_requests_are_there_with_their_traffic_and_agreement() -> None:
    text = (
        'headway_route_weight{model="m",version="10",arm="shadow"} 0.1\n'
        'headway_shadow_compared_total{model="m",version="10",outcome="agree"} 9\n'
        'headway_shadow_compared_total{model="m",version="10",outcome="disagree"} 1\n'
        'headway_shadow_compared_total{model="m",version="10",outcome="dropped"} 7\n'
        'headway_route_weight{model="m",version="2",arm="stable"} 1\n'
    )
    stable, shadow = versions_now([(page(text), page(text, at=1.0))])
    assert (stable.version, stable.traffic, stable.requests, stable.p99, stable.errors) == ("2", 1.0, 0.0, None, None)
    assert (shadow.version, shadow.arm, shadow.traffic, shadow.agreement) == ("10", "shadow", 0.1, 0.9)


def test_requests_that_met_no_version_are_left_out() -> None:
    text = 'headway_requests_total{model="unknown",version="unknown",arm="unknown",code="model_not_found"} 7\n'
    assert versions_now([(page(""), page(text, at=1.0))]) == []


def test_queues_are_added_and_the_longest_wait_counts() -> None:
    def of(waiting: int, wait: float) -> Page:
        return page(
            f'headway_queue_pictures{{model="m"}} {waiting}\nheadway_queue_serving_pictures{{model="m"}} 2\n'
            f'headway_queue_limit{{model="m"}} 8\nheadway_queue_wait_seconds{{model="m"}} {wait}\n'
            f'headway_queue_shedding{{model="m"}} {int(wait > 1)}\n'
        )

    queue = queues_now([of(3, 0.1), of(4, 2.0)])["m"]
    assert (queue.waiting, queue.serving, queue.limit, queue.wait_seconds, queue.shedding) == (7, 4, 16, 2.0, True)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, None),
        ({0.1: 0, math.inf: 0}, 0.5, None),
        ({0.1: 10, 0.2: 20, math.inf: 20}, 0.75, 0.15),
        ({0.1: 10, math.inf: 20}, 0.99, 0.1),
        ({0.1: 0, 0.2: 4, math.inf: 4}, 0.5, 0.15),
    ],
)
def test_quantiles_are_those_of_prometheus(buckets: dict[float, float], share: float, expected: float | None) -> None:
    assert quantile(buckets, share) == (None if expected is None else pytest.approx(expected))
