"""The histogram that counts later shows what the library's own shows."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Histogram

from headway_serving.adapters.metrics.buffered_histogram import BufferedHistogram

BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0)
NAME, LABELS = "seconds", {"stage": "decode"}


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


@pytest.fixture
def histogram(registry: CollectorRegistry) -> BufferedHistogram:
    return BufferedHistogram(NAME, "Seconds", ("stage",), BOUNDS, registry)


@pytest.mark.parametrize("count", [0, 1, 100, 10_000])
def test_a_scrape_shows_what_the_library_would(
    registry: CollectorRegistry, histogram: BufferedHistogram, count: int
) -> None:
    chance = random.Random(7)
    values = [*BOUNDS, 0.0, 1e9, *(10 ** chance.uniform(-5, 3) for _ in range(count))]
    theirs = CollectorRegistry()
    library = Histogram(NAME, "Seconds", ("stage",), buckets=BOUNDS, registry=theirs)
    for stage in ("decode", "rank"):
        for value in values:
            histogram.labels(stage).observe(value)
            library.labels(stage).observe(value)
    assert samples(registry) == pytest.approx(samples(theirs))


def test_every_scrape_shows_all_that_was_observed_until_then(
    registry: CollectorRegistry, histogram: BufferedHistogram
) -> None:
    for expected in (1, 2, 3):
        histogram.labels("decode").observe(0.5)
        assert registry.get_sample_value(f"{NAME}_count", LABELS) == expected
        assert registry.get_sample_value(f"{NAME}_sum", LABELS) == 0.5 * expected


def test_nothing_is_lost_among_threads_that_observe_and_scrape(
    registry: CollectorRegistry, histogram: BufferedHistogram
) -> None:
    def observe(_: int) -> None:
        for _ in range(10_000):
            histogram.labels("decode").observe(1.0)

    def scrape(_: int) -> None:
        for _ in range(300):
            list(registry.collect())

    with ThreadPoolExecutor(6) as pool:
        scraping = [pool.submit(scrape, number) for number in range(2)]
        list(pool.map(observe, range(4)))
        for each in scraping:
            each.result()
    assert registry.get_sample_value(f"{NAME}_count", LABELS) == 40_000
    assert registry.get_sample_value(f"{NAME}_sum", LABELS) == 40_000


def test_a_name_is_taken_once(registry: CollectorRegistry, histogram: BufferedHistogram) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        BufferedHistogram(NAME, "Seconds", (), BOUNDS, registry)
