"""The metrics' text page, and that callers cannot make it grow without end."""

import re
import threading

from headway_serving.modelserver.metrics import MAX_SERIES, Counter, Histogram, ServerMetrics


def test_a_counter_has_no_total_and_its_name_begins_with_a_colon() -> None:
    counter = Counter("/tensorflow/serving/request_count", ["model_name", "status"])
    assert counter.lines() == ["# TYPE :tensorflow:serving:request_count counter"]
    counter.increment("m", "OK")
    counter.increment("m", "OK", by=2)
    assert counter.lines()[1:] == [':tensorflow:serving:request_count{model_name="m",status="OK"} 3']


def test_a_bucket_holds_what_is_less_than_its_limit() -> None:
    histogram = Histogram("/a", (1, 2))
    for value in (0.5, 1, 1.5, 2, 7):
        histogram.observe(value)
    assert histogram.lines() == [
        "# TYPE :a histogram",
        ':a_bucket{le="1"} 1',
        ':a_bucket{le="2"} 3',
        ':a_bucket{le="+Inf"} 5',
        ":a_sum{} 12",
        ":a_count{} 5",
    ]


def test_made_up_names_do_not_make_series_without_end() -> None:
    counter = Counter("/a", ["name"])
    for number in range(MAX_SERIES + 5):
        counter.increment(f"name {number}")
    counter.increment("name 0")
    lines = counter.lines()
    assert len(lines) == 1 + MAX_SERIES + 1
    assert {':a{name="name 0"} 2', ':a{name="other"} 5'} <= set(lines)


def test_a_label_cannot_break_the_page() -> None:
    counter = Counter("/a", ["name"])
    counter.increment('"} 1\n# \\')
    assert counter.lines()[1:] == [':a{name="\\"} 1\\n# \\\\"} 1']


def test_counts_from_many_threads_are_not_lost() -> None:
    metrics = ServerMetrics()

    def count() -> None:
        for _ in range(2000):
            metrics.request_count.increment("m", "OK")
            metrics.request_latency.observe(5, "m", "Predict", "GRPC")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert re.findall(r"^:tensorflow:serving:request_\w+{[^}]*} 16000$", metrics.page(), re.MULTILINE)
    assert metrics.request_count.total() == 16_000
