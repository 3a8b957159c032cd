"""Builds the gateway's and the embedded model server's images, runs both, and looks at what a cluster relies on.

Run by ``make image-check``. It needs root, Linux, buildah and debootstrap, and no container engine; where it cannot
run it says why and ends with 0. Everything is below one temporary folder, which is removed.
"""

import contextlib
import functools
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from headway_client import Client
from scripts.buildah_images import Buildah, CannotRun, Image, require_tools, run_inside, running, wait_until

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "digits-5to9"
USER = 10001
MOST_GATEWAY_BYTES = 200_000_000
HEADWAY = [sys.executable, "-m", "headway_client.cli"]


@dataclass(frozen=True)
class Ports:
    """Free ones: this machine may be serving on the usual ports."""

    gateway: int
    admin: int
    grpc: int
    rest: int


class CheckFailed(Exception):
    """Something is not as it must be; the text says what."""


def main() -> int:
    """Build, run and look. Exit codes: 0 all well, or not possible here; 1 something is wrong."""
    try:
        require_tools()
    except CannotRun as error:
        print(f"image-check cannot run here: {error}", flush=True)
        return 0
    # Not /tmp, which may be memory.
    folder = Path(tempfile.mkdtemp(prefix="headway-images-", dir="/var/tmp"))
    buildah = Buildah(folder)
    try:
        _check(buildah, folder)
    except CheckFailed as error:
        print(f"FAILED: {error}", flush=True)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"FAILED: {' '.join(map(str, error.cmd[:8]))} ...\n{error.output}\n{error.stderr}", flush=True)
        return 1
    finally:
        buildah.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("The images are as they should be.", flush=True)
    return 0


def _check(buildah: Buildah, folder: Path) -> None:
    print(f"Layers are stored by {buildah.driver}.", flush=True)
    _timed("base of Debian 12", buildah.make_base)
    gateway = _timed("gateway", lambda: buildah.build(ROOT, "gateway"))
    server = _timed("model-server-embedded", lambda: buildah.build(ROOT, "model-server-embedded"))
    for name, image in (("gateway", gateway), ("model-server-embedded", server)):
        _look_at(name, image)
    if (size := gateway.own_bytes) >= MOST_GATEWAY_BYTES:
        raise CheckFailed(f"the gateway's own layers have {size:,} bytes; {MOST_GATEWAY_BYTES:,} is the most")
    repository, picture = _timed("a published version", lambda: _published(folder))
    _timed("both run", lambda: _run_both(gateway, server, repository, picture, folder))


Result = TypeVar("Result")


def _timed(what: str, step: Callable[[], Result]) -> Result:
    began, used = time.monotonic(), _cpu_seconds()
    result = step()
    print(f"{what}: {time.monotonic() - began:.0f} s, {_cpu_seconds() - used:.0f} s of CPU", flush=True)
    return result


def _cpu_seconds() -> float:
    """Of every child that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _look_at(name: str, image: Image) -> None:
    """User, labels, health check and the list of packages."""
    version = _release()
    if image.user != f"{USER}:{USER}":
        raise CheckFailed(f"{name} runs as {image.user!r}")
    if not image.health_check:
        raise CheckFailed(f"{name} has no HEALTHCHECK")
    if image.labels.get("org.opencontainers.image.version") != version:
        raise CheckFailed(f"{name} is labelled {dict(image.labels)}, not with version {version}")
    bill = json.loads((image.root / "opt/headway/sbom.cdx.json").read_text(encoding="utf-8"))
    listed = {each["name"].lower(): each["version"] for each in bill["components"]}
    missing = {"headway", "numpy", "grpcio"} - listed.keys()
    if bill["bomFormat"] != "CycloneDX" or missing or listed["headway"] != version:
        raise CheckFailed(f"{name}: its list of packages lacks {sorted(missing) or version}")
    print(f"{name}: {image.own_bytes / 1e6:.0f} MB of its own, {len(listed)} packages listed", flush=True)


def _release() -> str:
    match = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None
    return match[1]


def _published(folder: Path) -> tuple[Path, Path]:
    """A repository with one version, and a picture for it: those of the demo, where it has run."""
    repository, samples = ROOT / ".demo/models", ROOT / ".demo/samples" / RECIPE
    if not (repository / RECIPE).is_dir() or not list(samples.glob("*.png")):
        repository, samples = folder / "models", folder / "samples"
        subprocess.run([*HEADWAY, "train", RECIPE, "--repository", repository], check=True, capture_output=True)
        subprocess.run(
            [*HEADWAY, "samples", RECIPE, "--out", samples, "--count", "1", "--repository", repository],
            check=True,
            capture_output=True,
        )
    return repository, next(iter(sorted(samples.glob("*.png"))))


def _run_both(gateway: Image, server: Image, repository: Path, picture: Path, folder: Path) -> None:
    version = max(int(path.name) for path in (repository / RECIPE).iterdir() if path.name.isdigit())
    configuration = _write_configuration(folder / "etc", version)
    ports = _free_ports()
    flags = [f"--port={ports.grpc}", f"--rest_api_port={ports.rest}"]
    settings = {
        "HEADWAY_PORT": str(ports.gateway),
        "HEADWAY_ADMIN_PORT": str(ports.admin),
        "HEADWAY_MODEL_SERVER": f"127.0.0.1:{ports.grpc}",
        "HEADWAY_MODEL_SERVER_REST": f"http://127.0.0.1:{ports.rest}",
    }
    mounts = {configuration: "/etc/headway"}
    url, admin = f"http://127.0.0.1:{ports.gateway}", f"http://127.0.0.1:{ports.admin}"
    with running(server, {**mounts, repository: "/models"}, {}, flags) as model_server, \
         running(gateway, mounts, settings) as front:  # fmt: skip
        for name, process in (("gateway", front), ("model server", model_server)):
            wait_until(functools.partial(_confined, process.pid), f"the {name} is user {USER} on a read-only disk", 30)
        seconds = wait_until(lambda: _status(f"{url}/readyz") == 200, "the gateway is ready", 90)
        print(f"ready after {seconds:.1f} s", flush=True)
        _classify(url, picture)
        _check_metrics(url, admin)
        health = run_inside(gateway, gateway.health_check[1:], settings)
        if health.returncode != 0:
            raise CheckFailed(f"the gateway's HEALTHCHECK fails although it serves: {health.stderr}")
    if front.returncode != 0:
        raise CheckFailed(f"the gateway ended with {front.returncode} after SIGTERM")
    if run_inside(gateway, gateway.health_check[1:], settings).returncode == 0:
        raise CheckFailed("the gateway's HEALTHCHECK passes although nothing runs")


def _free_ports() -> Ports:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in probes:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in probes))


def _write_configuration(folder: Path, version: int) -> Path:
    folder.mkdir()
    policy = f"model_version_policy {{ specific {{ versions: {version} }} }}"
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{RECIPE}" base_path: "/models/{RECIPE}" '
        f'model_platform: "tensorflow" {policy} }} }}\n'
    )
    shutil.copy(ROOT / "k8s/base/config/monitoring.config", folder)
    (folder / "routes.json").write_text(json.dumps({"schema": 2, "models": {RECIPE: {"stable": version}}}))
    return folder


def _confined(pid: int) -> bool:
    """Whether a process runs as our user, on a root file system that it cannot write to."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    user = re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)
    root = [line.split() for line in mounts if line.split()[4] == "/"]
    return user is not None and int(user[1]) == USER and "ro" in root[-1][5].split(",")


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def _classify(url: str, picture: Path) -> None:
    with Client(url) as client:
        answer = client.classify(picture, model=RECIPE)
    print(f"{picture.name} is classified as {answer.label} ({answer.score:.2%})", flush=True)
    if answer.label != picture.name.partition("-")[0]:
        raise CheckFailed(f"{picture.name} was classified as {answer.label}")


def _check_metrics(url: str, admin: str) -> None:
    metrics = httpx.get(f"{admin}/metrics", timeout=5, trust_env=False).text
    if not re.search(rf'headway_requests_total{{[^}}]*code="ok"[^}}]*model="{RECIPE}"', metrics):
        raise CheckFailed("/metrics on the admin port does not count the request that was answered")
    if _status(f"{url}/metrics") != 404:
        raise CheckFailed("/metrics is on the public port too")


if __name__ == "__main__":
    sys.exit(main())
