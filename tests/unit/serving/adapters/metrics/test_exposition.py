"""Our writer of the page writes what the library's does."""

import pytest
from prometheus_client import Counter, Histogram
from prometheus_client.exposition import choose_encoder

from headway_serving.adapters.metrics.exposition import content_type_for, page_of
from headway_serving.adapters.metrics.prometheus import process_registry
from tests.unit.serving.adapters.metrics.test_series_budget import busy_gateway

ACCEPTED = {
    "": "text/plain; version=0.0.4",
    "text/plain;version=0.0.4": "text/plain; version=0.0.4",
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5": "application/openmetrics-text; version=1.0.0",
}


@pytest.mark.parametrize("accept", ACCEPTED)
def test_a_page_is_what_the_library_would_write(accept: str) -> None:
    registry = process_registry()  # which leaves out when each series was made
    busy_gateway(registry)
    awkward = Counter("awkward", 'Help with "quotes", a \\ and\na line', ("text",), registry=registry)
    awkward.labels('a "b"\\c\nd é').inc(1e17)
    Histogram("one", "h", registry=registry).observe(float("nan"))
    content_type = content_type_for(accept)
    assert content_type.startswith(ACCEPTED[accept])
    ours, theirs = page_of(registry, content_type).decode(), choose_encoder(accept)[0](registry).decode()
    # Memory and processor time are other ones by now.
    same = [
        (one, other)
        for one, other in zip(ours.splitlines(), theirs.splitlines(), strict=True)
        if not one.startswith(("process_", "python_gc"))
    ]
    assert [one for one, _ in same] == [other for _, other in same]


def test_the_process_metrics_are_written_too() -> None:
    assert b"process_resident_memory_bytes" in page_of(process_registry(), content_type_for(""))
