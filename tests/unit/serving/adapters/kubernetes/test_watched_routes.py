"""The routes of a ConfigMap are in force as soon as they are written, and stay while the API is away."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headway_serving.adapters.files.routes import InvalidRoutes, format_routes, write_routes
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.watched_routes import WatchedRoutes, watch_routes
from headway_serving.core.routing import ModelRoutes, RouteTable
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api
from tests.support.waiting import eventually

NAMES = ("headway", "headway-routes")


def table(stable: int) -> RouteTable:
    return RouteTable({"digits": ModelRoutes(stable)})


def write(server: KubernetesApi, stable: int) -> None:
    server.edit(*NAMES, lambda found: found["data"].update({"routes.json": format_routes(table(stable))}))


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with kubernetes_api() as running:
        running.create(*NAMES, {"routes.json": format_routes(table(1))})
        yield running


@contextmanager
def watching(server: KubernetesApi, file: Path = Path("/no-such-file")) -> Iterator[WatchedRoutes]:
    api = ConfigMapApi(Cluster(server.url, lambda: None, None, "test"))
    routes = WatchedRoutes(api, ConfigMapName(*NAMES), file, 0.05)
    routes.watch()
    try:
        yield routes
    finally:
        routes.close()
        server.stop()


def stable(routes: WatchedRoutes) -> int:
    return routes.content().of("digits").stable


def followed(routes: WatchedRoutes) -> bool:
    return bool(routes.standing()["followed"])


def test_a_change_is_in_force_in_less_than_a_second(server: KubernetesApi) -> None:
    with watching(server) as routes:
        taken = list[RouteTable]()
        routes.follow(taken.append)
        for number in range(2, 6):
            began = time.monotonic()
            write(server, number)
            eventually(lambda: stable(routes) == number, "it is in force")  # noqa: B023
            assert time.monotonic() - began < 1
        # A renewed reservation, or another key, is no change.
        server.edit(*NAMES, lambda found: found["metadata"].update(annotations={"a": "b"}))
        write(server, 9)
        eventually(lambda: stable(routes) == 9, "it is in force")
        assert [each.of("digits").stable for each in taken] == [2, 3, 4, 5, 9]
        assert server.asked["list"] == 1
        assert routes.standing()["from"] == "kubernetes:headway/headway-routes"


def test_dropped_connections_and_forgotten_events_lose_nothing(server: KubernetesApi) -> None:
    with watching(server) as routes:
        for number in range(2, 5):
            server.drop_connections()
            write(server, number)
            eventually(lambda: stable(routes) == number, "it is in force after a cut")  # noqa: B023
        assert server.asked["list"] == 1, "the watch begins again where it ended"
        server.stop()
        write(server, 7)
        server.forget_events()
        server.start()
        eventually(lambda: stable(routes) == 7, "it is listed anew after 410 Gone")
        assert server.asked["list"] == 2
        server.forget_events()
        write(server, 8)
        eventually(lambda: stable(routes) == 8, "also if it is told in the midst of a watch")


def test_bookmarks_spare_a_list_after_a_quiet_time(server: KubernetesApi) -> None:
    server.bookmark_seconds = 0.1
    with watching(server) as routes:
        for number in range(5):
            server.create("headway", f"other-{number}", {})
        time.sleep(0.4)
        server.stop()
        with server._changed:
            server._forgotten = server._version
        server.start()
        write(server, 2)
        eventually(lambda: stable(routes) == 2, "it is in force")
        assert server.asked["list"] == 1


def test_while_the_api_is_away_the_last_good_routes_stay(
    server: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with watching(server) as routes:
        server.stop()
        eventually(lambda: not followed(routes), "it is said")
        assert "does not answer" in str(routes.standing()["trouble"])
        assert (stable(routes), routes.problem()) == (1, None)
        server.start()
        eventually(lambda: followed(routes), "it is back")
        write(server, 2)
        eventually(lambda: stable(routes) == 2, "it is in force")
    assert "the last good routes stay in force" in caplog.text
    assert "ConfigMap headway/headway-routes is watched" in caplog.text


def test_routes_that_cannot_be_used_and_a_deletion_are_refused(server: KubernetesApi) -> None:
    with watching(server) as routes:
        server.edit(*NAMES, lambda found: found["data"].update({"routes.json": "{"}))
        eventually(lambda: "not JSON" in str(routes.problem()), "it is refused")
        server.edit(*NAMES, lambda found: found["data"].clear())
        eventually(lambda: "has no key routes.json" in str(routes.problem()), "it is refused")
        server.put(server.held(*NAMES), "DELETED")
        eventually(lambda: "is not there" in str(routes.problem()), "it is refused")
        assert stable(routes) == 1
        server.create(*NAMES, {"routes.json": format_routes(table(1))})
        eventually(lambda: routes.problem() is None, "it is there again")


def test_the_file_is_followed_from_the_start_until_the_api_answers(server: KubernetesApi, tmp_path: Path) -> None:
    server.stop()
    file = tmp_path / "routes.json"
    write_routes(file, table(5))
    with watching(server, file) as routes:
        assert stable(routes) == 5
        assert "file" in routes.standing()["from"]
        write_routes(file, table(6))
        eventually(lambda: stable(routes) == 6, "the file is followed")
        server.start()
        eventually(lambda: stable(routes) == 1, "the API counts more")
        write_routes(file, table(7))
        time.sleep(0.2)
        assert stable(routes) == 1
        assert routes.standing()["from"] == "kubernetes:headway/headway-routes"


def test_without_permission_the_file_serves_and_the_rule_is_named(server: KubernetesApi, tmp_path: Path) -> None:
    server.rules = {"other": set()}
    write_routes(tmp_path / "routes.json", table(5))
    with watching(server, tmp_path / "routes.json") as routes:
        assert stable(routes) == 5
        assert "is not known to" in str(routes.standing()["trouble"])


def test_with_neither_it_does_not_start(server: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop()
    with (
        pytest.raises(InvalidRoutes, match=r"does not answer.*nor has the file: routes file /no-such-file"),
        watching(server),
    ):
        pass
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InvalidRoutes, match="cannot be watched: no cluster is known"):
        watch_routes("headway/headway-routes", tmp_path / "routes.json", 0.5)
