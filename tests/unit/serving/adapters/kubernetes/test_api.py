"""Asks a server that speaks Kubernetes' protocol: what it refuses is said with what to do."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName, config_map_named
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.errors import (
    Conflict,
    Forbidden,
    Gone,
    InvalidKubernetes,
    KubernetesError,
    Unreachable,
)
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api

WHERE = ConfigMapName("headway", "headway-routes")


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with kubernetes_api() as running:
        running.create("headway", "headway-routes", {"routes.json": "{}"})
        yield running


def api(server: KubernetesApi, token: str | None = None) -> ConfigMapApi:
    return ConfigMapApi(Cluster(server.url, lambda: token, None, "service account headway-controller"))


def test_a_replacement_needs_the_version_that_is_there(server: KubernetesApi) -> None:
    found = api(server).get(WHERE)
    changed = api(server).replace(WHERE, {**found, "data": {"routes.json": "new"}})
    assert changed["metadata"]["resourceVersion"] > found["metadata"]["resourceVersion"]
    with pytest.raises(Conflict, match="the object has been modified"):
        api(server).replace(WHERE, {**found, "data": {"routes.json": "lost"}})
    assert server.text("headway", "headway-routes", "routes.json") == "new"


def test_where_there_is_no_permission_the_rule_that_lacks_is_named(server: KubernetesApi) -> None:
    server.rules = {"controller": {("get", "headway", "headway-routes")}}
    found = api(server, "controller").get(WHERE)
    lacking = (
        r"service account headway-controller needs a Role in namespace headway with the rule "
        r'\{apiGroups: \[""\], resources: \[configmaps\], resourceNames: \[headway-routes\], verbs: \[update\]\}'
    )
    with pytest.raises(Forbidden, match=lacking):
        api(server, "controller").replace(WHERE, found)
    with pytest.raises(Forbidden, match=r"verbs: \[list\]"):
        api(server, "controller").listed(WHERE)
    with pytest.raises(Forbidden, match=r"verbs: \[watch\]"), api(server, "controller").watched(WHERE, "1"):
        pass
    with pytest.raises(KubernetesError, match="401: Unauthorized; service account headway-controller is not known"):
        api(server, "stranger").get(WHERE)


def test_a_config_map_that_is_not_there_is_named(server: KubernetesApi) -> None:
    with pytest.raises(KubernetesError, match="get of ConfigMap headway/other: 404"):
        api(server).get(ConfigMapName("headway", "other"))
    assert api(server).listed(ConfigMapName("headway", "other"))[0] is None


def test_changes_and_bookmarks_are_told_until_the_version_is_too_old(server: KubernetesApi) -> None:
    server.bookmark_seconds = 0.1
    found, version = api(server).listed(WHERE)
    assert found is not None
    with pytest.raises(Gone), api(server).watched(WHERE, version) as events:  # noqa: PT012
        assert next(events)["type"] == "BOOKMARK"
        server.create("headway", "other", {})
        server.edit("headway", "headway-routes", lambda each: each["data"].update(more="1"))
        told = next(event for event in events if event["type"] != "BOOKMARK")
        assert (told["type"], told["object"]["data"]["more"]) == ("MODIFIED", "1")
        server.forget_events()
        list(events)
    with pytest.raises(Gone), api(server).watched(WHERE, version) as events:
        next(events)


def test_a_server_that_is_away_or_cuts_a_connection_is_unreachable(server: KubernetesApi) -> None:
    asked = api(server)
    version = asked.listed(WHERE)[1]
    threading.Timer(0.5, server.drop_connections).start()
    with pytest.raises(Unreachable, match="does not answer"), asked.watched(WHERE, version) as events:
        list(events)
    server.stop()
    with pytest.raises(Unreachable, match=server.url):
        asked.get(WHERE)


@pytest.mark.parametrize("text", ["", "Headway", "headway/", "headway/a/b", "headway/../x", "a b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidKubernetes, match="NAMESPACE or NAMESPACE/NAME"):
        config_map_named(text, "headway-routes")
    assert str(config_map_named("headway", "headway-routes")) == "headway/headway-routes"
    assert str(config_map_named("a/b", "headway-routes")) == "a/b"


def test_each_request_shows_the_token_of_that_moment(server: KubernetesApi, tmp_path: Path) -> None:
    server.rules = {"one": set(), "two": {("get", "headway", "headway-routes")}}
    token = tmp_path / "token"
    token.write_text("one")
    asked = ConfigMapApi(Cluster(server.url, token.read_text, None, "me"))
    with pytest.raises(Forbidden):
        asked.get(WHERE)
    token.write_text("two")
    asked.get(WHERE)
    token.unlink()
    with pytest.raises(Unreachable, match="me has no token"):
        asked.get(WHERE)
