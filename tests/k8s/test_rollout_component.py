"""The component `rollout` and its Job: the rights are those that are used, the command is one that exists."""

import subprocess
import sys
from pathlib import Path

import pytest

from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.files.routes import change_model, format_routes
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.config_map import ConfigMapDocument
from headway_serving.adapters.kubernetes.errors import Forbidden
from headway_serving.adapters.kubernetes.watched_routes import WatchedRoutes
from headway_serving.commands import rollout
from headway_serving.commands.rollout_arguments import Start, parse
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.settings import GatewaySettings
from tests.k8s.manifests import (
    CHANGED_BY_ROLLOUTS,
    OVERLAYS,
    Document,
    build,
    container,
    find,
    of_kind,
    with_components,
)
from tests.support.kubernetes_api import KubernetesApi, Rule, kubernetes_api
from tests.support.waiting import eventually

ROUTES = ConfigMapName("headway", "headway-routes")
CONFIG = ConfigMapName("headway", "headway-models-config")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return with_components(OVERLAYS[0], ("rollout",), tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module")
def job() -> Document:
    return find(build("k8s/rollout"), "Job", "headway-rollout")


def rules(documents: list[Document], role: str) -> set[Rule]:
    """What a Role allows, as the API server of the tests has it."""
    namespace = find(documents, "Role", role)["metadata"]["namespace"]
    found = set[Rule]()
    for rule in find(documents, "Role", role)["rules"]:
        assert (rule["apiGroups"], rule["resources"]) == ([""], ["configmaps"])
        found |= {(verb, namespace, name) for verb in rule["verbs"] for name in rule["resourceNames"]}
    return found


def running(server: KubernetesApi) -> None:
    server.create("headway", ROUTES.name, {"routes.json": format_routes(RouteTable({"digits": ModelRoutes(1)}))})
    server.create("headway", CONFIG.name, {"models.config": "model_config_list {}"})


def document(server: KubernetesApi, where: ConfigMapName, key: str) -> ConfigMapDocument:
    return ConfigMapDocument(ConfigMapApi(Cluster(server.url, lambda: "me", None, "me")), where, key)


def carry_through(server: KubernetesApi) -> None:
    """All that a controller does with the two objects."""
    routes, config = document(server, ROUTES, "routes.json"), document(server, CONFIG, "models.config")
    with routes.reserved("digits.controller", wait=False):
        change_model(routes, "digits", lambda found: ModelRoutes(found.stable, labels={"a": 1}))
        change_model(routes, "digits", lambda found: ModelRoutes(found.stable))
    config.change(lambda before: before if before is None else before + b" ")
    routes.is_reserved("digits.controller")


def test_a_controller_needs_every_right_that_it_has_and_no_other(documents: list[Document]) -> None:
    given = rules(documents, "headway-rollout")
    assert {(namespace, name) for _, namespace, name in given} == {("headway", ROUTES.name), ("headway", CONFIG.name)}
    with kubernetes_api(rules={"me": given}) as server:
        running(server)
        carry_through(server)
        for each in given:
            server.rules = {"me": given - {each}}
            with pytest.raises(Forbidden, match=rf"resourceNames: \[{each[2]}\], verbs: \[{each[0]}\]"):
                carry_through(server)


def test_a_gateway_may_watch_its_routes_and_needs_that(documents: list[Document]) -> None:
    given = rules(documents, "headway-gateway")
    assert given == {("list", "headway", ROUTES.name), ("watch", "headway", ROUTES.name)}
    with kubernetes_api(rules={"me": given}) as server:
        running(server)
        api = ConfigMapApi(Cluster(server.url, lambda: "me", None, "me"))
        routes = WatchedRoutes(api, ROUTES, Path("/no-such-file"), 0.1)
        routes.watch()
        eventually(lambda: server.asked["watch"], "it watches")
        server.edit(
            "headway", ROUTES.name, lambda found: found["data"].update({"routes.json": format_routes(RouteTable({}))})
        )
        eventually(lambda: routes.content().models == {}, "it follows")
        routes.close()


def test_gateways_watch_the_object_that_the_job_changes(documents: list[Document]) -> None:
    environment = {each["name"]: each["value"] for each in container(documents, "headway-gateway")["env"]}
    assert GatewaySettings.from_environment(environment).routes == f"kubernetes:{ROUTES}"


def test_what_rollouts_change_is_not_applied_over(documents: list[Document]) -> None:
    assert not CHANGED_BY_ROLLOUTS & {each["metadata"]["name"] for each in of_kind(documents, "ConfigMap")}
    base = {each["metadata"]["name"] for each in of_kind(build(OVERLAYS[0]), "ConfigMap")}
    assert base >= CHANGED_BY_ROLLOUTS


def test_the_job_runs_a_command_that_exists(
    documents: list[Document], job: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value", "headway") for each in only["env"]}
    words = [environment[word[2:-1]] if word.startswith("$(") else word for word in only["args"]]
    words = [word.replace("$(VERSION)", environment["VERSION"]).replace("$(NAMESPACE)", "headway") for word in words]
    assert [*only["command"], words[0]] == ["headway", "rollout"]
    with kubernetes_api() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        command = parse(words[1:])
    assert isinstance(command, Start)
    assert command.resume, "what is killed continues"
    places: list[Place | None] = [command.target.routes_file, command.models_config]
    assert [str(each) for each in places] == [
        f"routes.json of ConfigMap {ROUTES}",
        f"models.config of ConfigMap {CONFIG}",
    ]
    assert str(command.target.repository) in {mount["mountPath"] for mount in only["volumeMounts"]}
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "Service")}
    for target in (*command.gate.gateways, *command.gate.model_servers):
        name, _, port = target.rpartition("/")[2].partition(":")
        assert services[name]["clusterIP"] == "None", "each pod is asked for itself"
        assert int(port) in [each["port"] for each in services[name]["ports"]]


def test_the_gateways_image_can_run_it() -> None:
    """It has no TensorFlow, and nothing that reads kubeconfig files is needed in a pod."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'tensorflow_serving', 'scipy', 'yaml')); "
        "import headway_serving.commands.rollout"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_job_may_do_what_its_account_may_and_is_tried_again_only_where_nothing_was_decided(
    documents: list[Document], job: Document
) -> None:
    spec = job["spec"]["template"]["spec"]
    (binding,) = [each for each in of_kind(documents, "RoleBinding") if each["metadata"]["name"] == "headway-rollout"]
    assert [each["name"] for each in binding["subjects"]] == [spec["serviceAccountName"]]
    assert spec["restartPolicy"] == "Never", "a policy of failures needs that"
    decided = [
        rule["onExitCodes"]["values"] for rule in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ]
    assert decided == [[rollout._REFUSED, rollout._ROLLED_BACK, rollout._INCONCLUSIVE]]
    labels = job["spec"]["template"]["metadata"]["labels"]
    (policy,) = [
        each for each in of_kind(documents, "NetworkPolicy") if each["metadata"]["name"] == "headway-controller"
    ]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/part-of"] == "headway"
