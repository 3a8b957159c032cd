"""What is known of the routed versions: the last answers, or that the model server is away."""

from headway_serving.adapters.model_server.version_watch import VersionStatus, VersionWatch
from headway_serving.core.errors import ModelUnavailable


class Server:
    def __init__(self) -> None:
        self.away = False
        self.statuses = {
            "digits": [VersionStatus(2, "END", "NOT_FOUND"), VersionStatus(1, "AVAILABLE", None)],
            "letters": [VersionStatus(7, "LOADING", None)],
        }

    def version_statuses(self, model: str, _: float) -> list[VersionStatus]:
        if self.away:
            raise ModelUnavailable("away")
        return self.statuses[model]


def test_states_and_failures_are_those_heard_last() -> None:
    watch = VersionWatch(Server(), lambda: ["digits", "letters"], "host:8500")
    assert watch.up() == watch.states() == []
    watch.look()
    assert watch.up() == [(("host:8500",), 1.0)]
    assert [values[1:] for values, _ in watch.states()] == [
        ("digits", "2", "END"), ("digits", "1", "AVAILABLE"), ("letters", "7", "LOADING"),
    ]  # fmt: skip
    assert watch.failures() == [(("host:8500", "digits", "2", "NOT_FOUND"), 1.0)]


def test_of_a_server_that_is_away_nothing_old_is_said() -> None:
    server = Server()
    watch = VersionWatch(server, lambda: ["digits"], "host:8500")
    watch.look()
    server.away = True
    watch.look()
    assert watch.up() == [(("host:8500",), 0.0)]
    assert watch.states() == watch.failures() == []
