import re

from headway_serving.adapters.metrics.names import COUNTER, GATEWAY, MODEL_SERVER

EVERY = [*GATEWAY, *MODEL_SERVER]


def test_names_are_unique_and_counters_alone_end_with_total() -> None:
    names = [each.name for each in EVERY]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("headway_[a-z_]+", name) for name in names)
    assert all((each.kind == COUNTER) == each.name.endswith("_total") for each in EVERY)


def test_every_metric_has_a_line_of_help_and_labels_that_prometheus_takes() -> None:
    for each in EVERY:
        assert each.help, each.name
        assert "\n" not in each.help, each.name
        assert all(re.fullmatch("[a-z_]+", label) and label not in ("le", "quantile") for label in each.labels)
