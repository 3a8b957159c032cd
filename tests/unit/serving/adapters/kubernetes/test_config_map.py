"""A document in a ConfigMap: conflicts, lost answers, reservations that are taken over; see ``test_documents.py``."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway_serving.adapters.kubernetes import reservations
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.config_map import ConfigMapDocument
from headway_serving.adapters.kubernetes.errors import Unreachable
from headway_serving.core.documents import ReservationLost
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api

NAMES = ("headway", "headway-routes")
KEY = "routes.json"


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with kubernetes_api() as running:
        running.create(*NAMES, {KEY: "1", "other": "kept"})
        yield running


def document(server: KubernetesApi, trouble_seconds: float = 5.0) -> ConfigMapDocument:
    api = ConfigMapApi(Cluster(server.url, lambda: None, None, "test"))
    return ConfigMapDocument(api, ConfigMapName(*NAMES), KEY, trouble_seconds=trouble_seconds)


def one_more(before: bytes | None) -> bytes:
    return b"%d" % (int(before or 0) + 1)


def test_a_change_is_made_again_to_what_another_has_written(server: KubernetesApi) -> None:
    server.before_write = lambda: server.edit(*NAMES, lambda found: found["data"].update({KEY: "10"}))
    seen = list[bytes | None]()

    def one_more_seen(before: bytes | None) -> bytes:
        seen.append(before)
        return one_more(before)

    document(server).change(one_more_seen)
    assert seen == [b"1", b"10"]
    assert server.held(*NAMES)["data"] == {KEY: "11", "other": "kept"}


def test_a_write_whose_answer_is_lost_is_not_made_twice(server: KubernetesApi) -> None:
    server.lost_answers = 1
    document(server).change(one_more)
    assert server.text(*NAMES, KEY) == "2"


def test_a_write_waits_for_an_api_that_comes_back_and_gives_up_at_last(server: KubernetesApi) -> None:
    changed = document(server)
    server.stop()
    with pytest.raises(Unreachable):
        document(server, trouble_seconds=0.2).change(one_more)
    changed = ConfigMapDocument(
        changed.api, changed.where, KEY, sleep=lambda _: server.start() if server.away() else None
    )
    changed.change(one_more)
    assert server.text(*NAMES, KEY) == "2"


def test_kubectl_and_a_document_change_the_same(server: KubernetesApi, tmp_path: Path) -> None:
    kubectl = [str(Path(sys.executable).with_name("kubectl")), f"--kubeconfig={server.kubeconfig(tmp_path)}"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*kubectl, f"--cache-dir={tmp_path}", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    document(server).change(one_more)
    assert run("get", "configmap", "headway-routes", "-o", r"jsonpath={.data.routes\.json}") == "2"
    with document(server).reserved("digits.controller", wait=False):
        run("patch", "configmap", "headway-routes", "--type=merge", "-p", '{"data": {"routes.json": "7"}}')
        assert document(server).is_reserved("digits.controller"), "kubectl leaves the annotations"
        document(server).change(one_more)
    assert server.text(*NAMES, KEY) == "8"
    made = tmp_path / "made.json"
    made.write_text(
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "another"}, "data": {KEY: "5"}})
    )
    run("create", "-f", str(made), "--validate=false")
    assert server.text("headway", "another", KEY) == "5"


def test_a_reservation_that_nobody_renews_is_taken_over(server: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "SECONDS", 1.0)
    monkeypatch.setattr(reservations, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(reservations, "RENEW_SECONDS", 0.2)
    # As a killed process leaves it; by a clock that is an hour ahead.
    left = {"digits.controller": {"holder": "killed", "renewed": time.time() + 3600}}
    server.edit(
        *NAMES,
        lambda found: found["metadata"].update(annotations={reservations.RESERVATIONS: str(left).replace("'", '"')}),
    )
    began = time.monotonic()
    with document(server).reserved("digits.controller", wait=False):
        assert 1.0 <= time.monotonic() - began < 5.0
        with (
            pytest.raises(BlockingIOError, match="is held by"),
            document(server).reserved("digits.controller", wait=False),
        ):
            pass
        with document(server).reserved("letters.controller", wait=False):
            pass
    assert reservations.of(server.held(*NAMES)) == {}


def test_who_has_lost_a_reservation_writes_nothing_more(server: KubernetesApi) -> None:
    one = document(server)
    with one.reserved("digits.controller", wait=False):
        server.edit(*NAMES, lambda found: found.update(reservations.with_record(found, "digits.controller", "other")))
        with pytest.raises(ReservationLost, match="taken over by other"):
            one.change(one_more)
    assert server.text(*NAMES, KEY) == "1"
    assert reservations.of(server.held(*NAMES))["digits.controller"].holder == "other"


def test_an_annotation_that_somebody_has_spoiled_reserves_nothing(server: KubernetesApi) -> None:
    for text in ("", "[]", "{", '{"a": 1}', '{"a": {}}'):
        server.edit(*NAMES, lambda found: found["metadata"].update(annotations={reservations.RESERVATIONS: text}))  # noqa: B023
        with document(server).reserved("a", wait=False):
            pass
