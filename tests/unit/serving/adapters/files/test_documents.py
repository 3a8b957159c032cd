"""A document in a file and one in a ConfigMap do the same for whoever reads, changes and reserves it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway_serving.adapters.files.documents import FileDocument
from headway_serving.adapters.files.routes import change_model, read_routes
from headway_serving.adapters.files.values import InvalidRoutes
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.config_map import ConfigMapDocument
from headway_serving.core.documents import Document
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.models_config import load_also, loaded_versions, unload
from headway_serving.operations.removed_models import remember_removed, removed_models
from tests.support.kubernetes_api import kubernetes_api
from tests.unit.serving.operations.test_models_config import repository

Make = Callable[[], Document]
"""Gives the same document as another process would have it."""


@pytest.fixture(params=["file", "ConfigMap"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "file":
        yield lambda: FileDocument(tmp_path / "routes.json")
        return
    with kubernetes_api() as server:
        server.create("headway", "headway-routes", {})
        cluster = Cluster(server.url, lambda: None, None, "test")
        where = ConfigMapName("headway", "headway-routes")
        yield lambda: ConfigMapDocument(ConfigMapApi(cluster), where, "routes.json")


def test_what_is_written_is_read_and_nothing_is_there_at_first(make: Make) -> None:
    document = make()
    assert document.read() is None
    document.change(lambda before: b"one" if before is None else b"wrong")
    document.change(lambda before: before)
    document.change(lambda _: None)
    assert make().read() == b"one"
    beside = document.beside("removed")
    assert "routes.removed.json" in str(beside)
    beside.change(lambda _: b"another")
    assert (document.read(), make().beside("removed").read()) == (b"one", b"another")


def test_a_change_that_raises_changes_nothing(make: Make) -> None:
    document = make()
    document.change(lambda _: b"one")

    def wrong(_: bytes | None) -> bytes:
        raise InvalidRoutes("wrong")

    with pytest.raises(InvalidRoutes):
        document.change(wrong)
    assert document.read() == b"one"


def test_nobodys_change_is_lost(make: Make) -> None:
    def count() -> None:
        document = make()
        for _ in range(10):
            document.change(lambda before: b"%d" % (int(before or 0) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make().read() == b"40"


def test_one_at_a_time_has_a_name_reserved(make: Make) -> None:
    one, other = make(), make()
    with one.reserved("a.controller", wait=False), one.reserved("b.controller", wait=False):
        assert other.is_reserved("a.controller")
        # Its holder's own changes go through, and whoever has reserved nothing may change it too: a person who aborts.
        one.change(lambda _: b"one")
        other.change(lambda _: b"other")
        waited = list[float]()

        def wait() -> None:
            with other.reserved("b.controller", wait=True):
                waited.append(time.monotonic())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        assert waited == []
    thread.join(10)
    assert len(waited) == 1
    assert not make().is_reserved("a.controller")


def test_routes_are_changed_whatever_holds_them(make: Make) -> None:
    document = make()
    with pytest.raises(InvalidRoutes, match="cannot be read: No such file"):
        read_routes(document)
    document.change(lambda _: b'{"schema": 2, "models": {"digits": {"stable": 1, "labels": {}}}}')
    assert change_model(document, "digits", lambda found: ModelRoutes(found.stable, labels={"old": 1})).labels
    assert read_routes(make()).of("digits").labels == {"old": 1}
    remember_removed(document, "letters", removed=True)
    assert removed_models(make()) == {"letters"}


def test_versions_are_loaded_and_unloaded_whatever_holds_them(make: Make, tmp_path: Path) -> None:
    document, models = make().beside("models"), repository(tmp_path / "models")
    assert loaded_versions(document) == {}
    load_also(document, models, "digits", 1)
    load_also(document, models, "digits", 2)
    unload(document, models, RouteTable({"digits": ModelRoutes(2)}), "digits", 1)
    assert loaded_versions(make().beside("models")) == {"digits": (2,)}
