"""The manifests fit together: what is named exists, what is configured is understood, what is stopped has drained."""

import copy
import dataclasses
import json
import re
from functools import cache
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from headway_serving.settings import GatewaySettings
from tests.k8s import manifests
from tests.k8s.manifests import BUILDS, DEPLOYMENTS, Document, container, find, of_kind, pod_specs
from tests.k8s.tfserving_flags import flag_values

built = cache(manifests.build)
every_deployment = pytest.mark.parametrize("folder", DEPLOYMENTS)

CHECKS = (
    manifests.selector_errors,
    manifests.probe_errors,
    manifests.reference_errors,
    manifests.security_errors,
    manifests.shutdown_errors,
)


@every_deployment
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_documents_fit_together(folder: str, check: Any) -> None:
    assert check(built(folder)) == []


def test_the_copier_fits_the_base() -> None:
    documents = [*built("k8s/base"), *built("k8s/copier")]
    assert manifests.reference_errors(documents) == []
    assert manifests.security_errors(documents) == []


def _server_spec(documents: list[Document]) -> Document:
    spec = find(documents, "Deployment", "headway-model-server")["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def _rename_pod_label(documents: list[Document]) -> None:
    template = find(documents, "Deployment", "headway-gateway")["spec"]["template"]
    template["metadata"]["labels"]["app.kubernetes.io/name"] = "gateway"


def _aim_service_at_a_closed_port(documents: list[Document]) -> None:
    find(documents, "Service", "headway-gateway")["spec"]["ports"][0]["targetPort"] = "https"


def _probe_a_closed_port(documents: list[Document]) -> None:
    container(documents, "headway-model-server")["readinessProbe"]["grpc"]["port"] = 9000


def _drop_config_map(documents: list[Document]) -> None:
    documents.remove(find(documents, "ConfigMap", "headway-models-config"))


def _drop_claim(documents: list[Document]) -> None:
    documents.remove(find(documents, "PersistentVolumeClaim", "headway-models"))


def _run_as_root(documents: list[Document]) -> None:
    _server_spec(documents)["securityContext"]["runAsUser"] = 0


def _kill_too_early(documents: list[Document]) -> None:
    _server_spec(documents)["terminationGracePeriodSeconds"] = 30


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (_rename_pod_label, manifests.selector_errors),
        (_aim_service_at_a_closed_port, manifests.selector_errors),
        (_probe_a_closed_port, manifests.probe_errors),
        (_drop_config_map, manifests.reference_errors),
        (_drop_claim, manifests.reference_errors),
        (_run_as_root, manifests.security_errors),
        (_kill_too_early, manifests.shutdown_errors),
    ],
)
def test_each_check_notices_damage(damage: Any, check: Any) -> None:
    documents = copy.deepcopy(built("k8s/base"))
    damage(documents)
    assert check(documents)


@every_deployment
def test_the_gateway_asks_the_headless_service(folder: str) -> None:
    documents = built(folder)
    environment = _gateway_environment(documents)
    match = re.fullmatch(r"dns:///([a-z-]+):(\d+)", environment["HEADWAY_MODEL_SERVER"])
    assert match is not None
    service = find(documents, "Service", match[1])
    assert service["spec"]["clusterIP"] == "None"
    assert int(match[2]) in [port["port"] for port in service["spec"]["ports"]]
    flags = flag_values(container(documents, match[1])["args"])
    assert flags["port"] == match[2]


@every_deployment
def test_the_gateway_listens_where_its_pod_says(folder: str) -> None:
    gateway = container(built(folder), "headway-gateway")
    environment = _gateway_environment(built(folder))
    assert environment["HEADWAY_HOST"] == "0.0.0.0"
    ports = {port["name"]: str(port["containerPort"]) for port in gateway["ports"]}
    assert ports == {"http": environment["HEADWAY_PORT"], "admin": environment["HEADWAY_ADMIN_PORT"]}


@every_deployment
def test_metrics_are_on_a_port_that_no_service_offers(folder: str) -> None:
    documents = built(folder)
    template = find(documents, "Deployment", "headway-gateway")["spec"]["template"]
    admin = _gateway_environment(documents)["HEADWAY_ADMIN_PORT"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == admin
    offered = {str(port[key]) for each in of_kind(documents, "Service") for port in each["spec"]["ports"]
               for key in ("port", "targetPort")}  # fmt: skip
    assert not offered & {admin, "admin"}


@every_deployment
def test_predict_is_passed_on_to_the_rest_port(folder: str) -> None:
    documents = built(folder)
    match = re.fullmatch(r"http://([a-z-]+):(\d+)", _gateway_environment(documents)["HEADWAY_MODEL_SERVER_REST"])
    assert match is not None
    service = find(documents, "Service", match[1])
    # One address for all of them: an HTTP client would keep to the first of several.
    assert service["spec"].get("clusterIP") != "None"
    assert [port["port"] for port in service["spec"]["ports"]] == [int(match[2])]
    flags = flag_values(container(documents, "headway-model-server")["args"])
    assert flags["rest_api_port"] == match[2]


def test_the_gateway_knows_every_setting() -> None:
    from headway_serving.settings import GatewaySettings

    known = {f"HEADWAY_{field.name.upper()}" for field in dataclasses.fields(GatewaySettings)}
    assert _gateway_environment(built("k8s/base")).keys() <= known


@every_deployment
def test_files_named_in_the_configuration_are_mounted(folder: str) -> None:
    documents = built(folder)
    flags = flag_values(container(documents, "headway-model-server")["args"])
    files = _config_files(documents, "headway-model-server")
    assert {flags["model_config_file"], flags["monitoring_config_file"]} == files
    assert {_gateway_environment(documents)["HEADWAY_ROUTES_FILE"]} == _config_files(documents, "headway-gateway")


@every_deployment
def test_every_routed_version_is_loaded(folder: str) -> None:
    documents = built(folder)
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(_config_text(documents, "models.config"), config)
    loaded = {
        (model.name, version)
        for model in config.model_config_list.config
        for version in model.model_version_policy.specific.versions
    }
    routes = json.loads(_config_text(documents, "routes.json"))
    routed = {
        (name, version)
        for name, route in routes["models"].items()
        for version in [route["stable"], *route["labels"].values(), *_candidate(route)]
    }
    assert routes["schema"] == 1
    assert routed
    assert routed <= loaded


@every_deployment
def test_models_are_read_from_the_mounted_volume(folder: str) -> None:
    documents = built(folder)
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(_config_text(documents, "models.config"), config)
    mounts = container(documents, "headway-model-server")["volumeMounts"]
    (models,) = [mount for mount in mounts if mount["name"] == "models"]
    assert models["readOnly"]
    for model in config.model_config_list.config:
        assert model.base_path == f"{models['mountPath']}/{model.name}"
        assert model.model_platform == "tensorflow"


@every_deployment
def test_prometheus_is_sent_to_the_page_that_the_server_offers(folder: str) -> None:
    documents = built(folder)
    template = find(documents, "Deployment", "headway-model-server")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    offered = re.search(r'enable: true\s+path: "([^"]+)"', _config_text(documents, "monitoring.config"))
    assert offered is not None
    assert annotations["prometheus.io/path"] == offered[1]
    flags = flag_values(container(documents, "headway-model-server")["args"])
    assert annotations["prometheus.io/port"] == flags["rest_api_port"]


@every_deployment
def test_gateways_let_go_of_a_model_server_before_it_is_killed(folder: str) -> None:
    server = container(built(folder), "headway-model-server")
    key, _, value = flag_values(server["args"])["grpc_channel_arguments"].partition("=")
    assert key == "grpc.max_connection_age_ms"
    longest_connection_s = int(value) / 1000 * 1.1  # gRPC spreads the age by 10 %
    stale_address_s = 30  # how long cluster DNS may repeat an old answer
    sleep_s = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep_s > longest_connection_s + stale_address_s


def test_edits_of_polled_files_restart_nothing() -> None:
    names = {document["metadata"]["name"] for document in of_kind(built("k8s/base"), "ConfigMap")}
    assert {"headway-routes", "headway-models-config"} <= names
    mounts = [mount for spec in pod_specs(built("k8s/base")) for mount in spec["containers"][0]["volumeMounts"]]
    assert not [mount for mount in mounts if "subPath" in mount]


@pytest.mark.parametrize("folder", ["k8s/base", "k8s/overlays/production"])
def test_a_rollout_never_takes_a_pod_away_first(folder: str) -> None:
    for deployment in of_kind(built(folder), "Deployment"):
        assert deployment["spec"]["replicas"] >= 2
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_production_is_the_base_with_more_of_everything() -> None:
    base, production = built("k8s/base"), built("k8s/overlays/production")
    (namespace,) = of_kind(production, "Namespace")
    for document in production:
        if document is not namespace:
            assert document["metadata"]["namespace"] == namespace["metadata"]["name"]
    for name in ("headway-gateway", "headway-model-server"):
        assert find(production, "Deployment", name)["spec"]["replicas"] == 3
        assert container(production, name)["image"] == container(base, name)["image"]
        assert container(production, name)["resources"] != container(base, name)["resources"]


@pytest.mark.parametrize("folder", BUILDS)
def test_every_image_has_a_fixed_tag(folder: str) -> None:
    images = [each["image"] for spec in pod_specs(built(folder)) for each in spec["containers"]]
    assert images
    for image in images:
        assert re.fullmatch(r"[a-z./-]+:\d+\.\d+\.\d+", image), image


def _candidate(route: Document) -> list[int]:
    return [route["candidate"]["version"]] if "candidate" in route else []


def _gateway_environment(documents: list[Document]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(documents, "headway-gateway")["env"]}


def _config_text(documents: list[Document], key: str) -> str:
    (text,) = [found["data"][key] for found in of_kind(documents, "ConfigMap") if key in found["data"]]
    assert isinstance(text, str)
    return text


def _config_files(documents: list[Document], deployment: str) -> set[str]:
    """Return the paths at which a Deployment's container finds the keys of its ConfigMaps."""
    spec = find(documents, "Deployment", deployment)["spec"]["template"]["spec"]
    mounted_at = {mount["name"]: mount["mountPath"] for mount in container(documents, deployment)["volumeMounts"]}
    return {
        f"{mounted_at[volume['name']]}/{key}"
        for volume in spec["volumes"]
        for source in [volume, *volume.get("projected", {}).get("sources", [])]
        if "configMap" in source
        for key in find(documents, "ConfigMap", source["configMap"]["name"])["data"]
    }


_PROCESS_BYTES = 150_000_000
"""Of a gateway beside the bodies it holds and the pictures it decodes."""


@every_deployment
def test_a_gateways_memory_limit_holds_what_its_settings_allow(folder: str) -> None:
    gateway = container(built(folder), "headway-gateway")
    settings = GatewaySettings.from_environment({each["name"]: each["value"] for each in gateway["env"]})
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", gateway["resources"]["limits"]["memory"]).groups()
    limit = int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]
    needed = settings.max_decode_bytes + settings.max_held_bytes + _PROCESS_BYTES
    assert needed <= limit
    # And not far more, which would be memory that no setting lets it use.
    assert limit < 1.3 * needed
