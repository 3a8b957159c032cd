"""The Dockerfile, as far as it can be checked without an engine."""

import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.k8s.dockerfile import read_dockerfile
from tests.k8s.manifests import ROOT, build, container
from tests.k8s.tfserving_flags import flag_values

DOCKERFILE = read_dockerfile(ROOT / "Dockerfile")
IMAGES = ("gateway", "model-server", "model-server-embedded", "training")


def test_the_images_that_make_builds_are_stages() -> None:
    lines = re.findall(r"docker build --target (\S+) -t (\S+) \.", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert sorted(target for target, _ in lines) == sorted(IMAGES)
    assert all(name == f"$(IMAGES)/{target}:$(RELEASE)" for target, name in lines)
    assert set(IMAGES) <= DOCKERFILE.stages.keys()


def test_stages_are_made_from_tagged_images() -> None:
    for stage in DOCKERFILE.stages.values():
        match = re.fullmatch(r"(python|tensorflow/serving):\$\{(\w+)\}", stage.image)
        assert match is not None, stage.image
        assert DOCKERFILE.arguments[match[2]]
    assert DOCKERFILE.stages["model-server"].image.startswith("tensorflow/serving:")


def test_tags_agree_with_the_manifests_and_the_project() -> None:
    images = yaml.safe_load((ROOT / "k8s/images/kustomization.yaml").read_text(encoding="utf-8"))["images"]
    tags = {image["name"]: image["newTag"] for image in images}
    made = subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # What `make image` makes is what the cluster pulls.
    for image in images:
        if image["name"].startswith("headway/"):
            assert f" -t {image['newName']}:{image['newTag']} " in made
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert tags["tensorflow/serving"] == DOCKERFILE.arguments["TENSORFLOW_SERVING_TAG"]
    assert {tags["headway/gateway"], tags["headway/model-server-embedded"]} == {project["version"]}
    for image in IMAGES:
        (labels,) = DOCKERFILE.stages[image].all("LABEL")
        assert f'org.opencontainers.image.version="{project["version"]}"' in labels


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    admitted = [rule[1:] for rule in rules if rule.startswith("!")]
    sources = [source for stage in DOCKERFILE.stages.values() for source in stage.copied_from_context()]
    assert rules[0] == "*"
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in admitted), source
    for path in admitted:
        assert any(source == path or source.startswith(f"{path}/") for source in sources), f"unused: {path}"


def test_stages_copy_only_from_stages_above_them() -> None:
    above: list[str] = []
    for stage in DOCKERFILE.stages.values():
        assert set(re.findall(r"--from=(\S+)", " ".join(stage.all("COPY")))) <= set(above)
        above.append(stage.name)


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_numbered_user_without_a_shell(image: str) -> None:
    stage = DOCKERFILE.stages[image]
    user = re.fullmatch(r"(\d+):(\d+)", stage.last("USER").arguments)
    assert user is not None
    assert int(user[1]) > 0
    for keyword in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
        if stage.all(keyword):
            assert stage.last(keyword).exec_form()
    assert not stage.all("RUN"), "whatever a RUN leaves behind would be in the image"


def test_the_gateway_image_holds_no_tensorflow() -> None:
    lock = (ROOT / "locks/gateway.lock").read_text(encoding="utf-8")
    packages = set(re.findall(r"^([a-z0-9._-]+)==", lock, flags=re.MULTILINE))
    assert {"flask", "grpcio", "httptools"} <= packages
    assert not {name for name in packages if re.search("tensorflow|keras", name)}
    assert "--require-hashes -r /locks/gateway.lock" in " ".join(DOCKERFILE.stages["gateway-packages"].all("RUN"))
    assert DOCKERFILE.stages["gateway"].all("COPY") == ["--from=gateway-packages /opt/headway /opt/headway"]


def test_the_images_run_what_the_project_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for image, keyword in (
        ("gateway", "CMD"),
        ("model-server-embedded", "ENTRYPOINT"),
        ("training", "ENTRYPOINT"),
    ):
        (command,) = DOCKERFILE.stages[image].last(keyword).exec_form()
        assert command in project["scripts"]


def test_the_images_run_what_the_cluster_runs() -> None:
    documents = build("k8s/base")
    gateway, server = container(documents, "headway-gateway"), container(documents, "headway-model-server")
    assert DOCKERFILE.stages["gateway"].last("CMD").exec_form() == gateway["command"]
    embedded = container(build("k8s/overlays/single"), "headway-model-server")
    for image, each in (("model-server", server), ("model-server-embedded", embedded)):
        stage = DOCKERFILE.stages[image]
        assert stage.last("ENTRYPOINT").exec_form() == each["command"]
        assert stage.last("CMD").exec_form() == each["args"]


@pytest.mark.parametrize("image", ["model-server", "model-server-embedded"])
def test_the_model_server_image_has_the_files_that_its_flags_name(image: str) -> None:
    stage = DOCKERFILE.stages[image]
    (copy,) = [each for each in stage.all("COPY") if not each.startswith("--from=")]
    *sources, target = copy.split()
    inside = {f"{target}{Path(source).name}" for source in sources}
    flags = flag_values(stage.last("CMD").exec_form())
    assert {flags["model_config_file"], flags["monitoring_config_file"]} == inside


@pytest.mark.parametrize("arguments", [["--port", "8500"], ["--prot=8500"], ["port=8500"]])
def test_a_flag_that_the_real_server_would_ignore_is_noticed(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="not a --name=value flag"):
        flag_values(arguments)


def test_the_build_backend_is_taken_from_the_lock_with_all_that_it_needs() -> None:
    (extraction, *_) = DOCKERFILE.stages["wheel"].all("RUN")
    command = extraction.split(" > ", maxsplit=1)[0]
    lock = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    pinned = set(re.findall(r"^([a-z0-9-]+)==\S+ .*\\$", lock, flags=re.MULTILINE))
    assert _needed_by("hatchling") == pinned
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert not lock.rstrip().endswith("\\")


def _needed_by(package: str) -> set[str]:
    """Return the package and everything that it needs on this Python, by canonical name."""
    needed = {package}
    for line in requires(package) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed |= _needed_by(requirement.name.lower().replace("_", "-"))
    return needed


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (500, False), (None, False)])
def test_the_gateway_health_check_tells_a_live_gateway_from_a_dead_one(status: int | None, healthy: bool) -> None:
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status or 500)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = str(server.server_port)
        if status is not None:
            threading.Thread(target=server.handle_request, daemon=True).start()
        else:
            server.socket.close()
        _, *arguments = DOCKERFILE.stages["gateway"].last("HEALTHCHECK").exec_form()
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "HEADWAY_PORT": port},
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode == 0) is healthy
    assert paths == (["/livez"] if status else [])


def test_every_image_with_python_says_what_it_holds() -> None:
    for stage in DOCKERFILE.stages.values():
        if stage.name.endswith("-packages"):
            assert "cyclonedx-py environment" in stage.all("RUN")[-1]
            assert "/opt/headway/sbom.cdx.json" in stage.all("RUN")[-1]
    lock = (ROOT / "locks/sbom.lock").read_text(encoding="utf-8")
    assert "cyclonedx-bom==" in lock
