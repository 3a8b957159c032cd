"""Counters and distributions by label values: exact among threads, and gone an hour after their version."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Histogram

from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.families import RETIRED_SECONDS, Distributions, Tally, WatchedValues

EDGES = (0.001, 0.01, 0.1, 1.0, 10.0)


def samples(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_distribution_shows_what_the_library_would(registry: CollectorRegistry) -> None:
    ours, theirs = Distributions(names.ANSWER_SCORE, EDGES, registry), CollectorRegistry()
    library = Histogram("headway_answer_score", "", ("model", "version"), buckets=EDGES, registry=theirs)
    for value in (*EDGES, 0.0, 1e9, 0.0005, 0.5, 0.1000001):
        ours.observe(value, "digits", "1")
        library.labels("digits", "1").observe(value)
    assert samples(registry) == pytest.approx(samples(theirs))


def test_nothing_is_lost_among_threads(registry: CollectorRegistry) -> None:
    tally, distribution = Tally(names.ABSTENTIONS, registry), Distributions(names.ANSWER_SCORE, EDGES, registry)

    def count(_: int) -> None:
        for _ in range(2000):
            tally.count("digits", "1")
            distribution.observe(0.5, "digits", "1")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    labels = {"model": "digits", "version": "1"}
    assert registry.get_sample_value("headway_abstentions_total", labels) == 8000
    assert registry.get_sample_value("headway_answer_score_count", labels) == 8000


def test_a_version_that_is_not_routed_goes_an_hour_after_its_last_change(registry: CollectorRegistry) -> None:
    tally = Tally(names.ABSTENTIONS, registry)
    tally.count("digits", "1")
    tally.count("digits", "2")

    def retire(at: float) -> set[str]:
        tally.retire(lambda _, version: version == "2", at)
        return {dict(labels)["version"] for _, labels in samples(registry)}

    assert retire(0) == {"1", "2"}
    assert retire(RETIRED_SECONDS) == {"1", "2"}
    tally.count("digits", "1")
    assert retire(RETIRED_SECONDS + 1) == {"1", "2"}
    assert retire(2 * RETIRED_SECONDS) == {"1", "2"}
    assert retire(2 * RETIRED_SECONDS + 2) == {"2"}


def test_a_metric_without_a_version_stays(registry: CollectorRegistry) -> None:
    tally = Tally(names.REFUSED_CALLERS, registry)
    tally.count("forbidden")
    for at in (0, 10 * RETIRED_SECONDS):
        tally.retire(lambda *_: False, at)
    assert registry.get_sample_value("headway_refused_callers_total", {"code": "forbidden"}) == 1


def test_watched_values_are_read_at_each_scrape(registry: CollectorRegistry) -> None:
    watched, now = WatchedValues((names.CONNECTIONS, names.CHILD_RESTARTS), registry), [1.0]
    watched.watch(names.CONNECTIONS, lambda: [((), now[0])])
    watched.watch(names.CHILD_RESTARTS, lambda: [(("gateway",), 3.0)])
    assert registry.get_sample_value("headway_connections") == 1
    now[0] = 2.0
    assert registry.get_sample_value("headway_connections") == 2
    assert registry.get_sample_value("headway_child_restarts_total", {"child": "gateway"}) == 3


def test_a_name_is_taken_once(registry: CollectorRegistry) -> None:
    Tally(names.ABSTENTIONS, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Tally(names.ABSTENTIONS, registry)
