"""Images built and run without a Docker engine: Debian's buildah and debootstrap, as root, on Linux."""

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE_NAME = "docker.io/library/python:3.11-slim"
"""The base of the Dockerfile, which is made here: nothing is pulled from a registry of images."""

_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What of the machine's pip configuration holds in a build too; folders of the machine are not there.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout")


class CannotRun(Exception):
    """This machine lacks something that building or running needs; the text says what."""


def require_tools() -> None:
    """Raises :class:`CannotRun` unless images can be built and run here."""
    if os.name != "posix" or os.geteuid() != 0:
        raise CannotRun("images are built and run without an engine only by root, on Linux")
    for tool in ("buildah", "debootstrap", "unshare", "chroot"):
        if shutil.which(tool) is None:
            raise CannotRun(f"{tool} is not installed: apt-get install buildah debootstrap")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        raise CannotRun("this machine lets nobody make a mount namespace")


@dataclass(frozen=True)
class Image:
    """A built image: its root folder, mounted, and what it says of itself."""

    root: Path
    user: str
    environment: Mapping[str, str]
    command: tuple[str, ...]
    health_check: tuple[str, ...]
    labels: Mapping[str, str]
    own_bytes: int
    """Of the layers that the Dockerfile adds to the base, uncompressed."""


class Buildah:
    """One storage of images below a folder, gone with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver = "vfs"
        # Sharing layers saves most of the disk and the time, where the machine's file system can.
        for driver in ("overlay", "vfs"):
            self._driver = driver
            with contextlib.suppress(subprocess.CalledProcessError):
                container = self._buildah("from", "scratch")
                self._buildah("mount", container)
                self._buildah("rm", container)
                break

    @property
    def driver(self) -> str:
        """How layers are stored: ``overlay`` or ``vfs``."""
        return self._driver

    def make_base(self) -> None:
        """Debian 12 with Python 3.11, under the name of the Dockerfile's base."""
        root = self._folder / "base"
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root))
        # The base of the Dockerfile lets pip install for everyone, as an image of Python's own does.
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        shutil.copyfile(_CERTIFICATES, root / _CERTIFICATES.lstrip("/"))
        (root / "etc/pip.conf").write_text(_pip_configuration(), encoding="utf-8")
        container = self._buildah("from", "scratch")
        self._buildah("add", container, str(root), "/")
        self._buildah("commit", container, BASE_NAME)
        self._buildah("rm", container)
        shutil.rmtree(root)

    def build(self, context: Path, target: str) -> Image:
        """Build one target of a Dockerfile and mount what it gives."""
        options = ["--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never"]
        self._buildah("bud", *options, "--target", target, "--tag", f"headway/{target}", str(context))
        inspected = json.loads(self._buildah("inspect", "--type", "image", f"headway/{target}"))
        config = inspected["Docker"]["config"]
        container = self._buildah("from", "--pull-never", f"headway/{target}")
        return Image(
            root=Path(self._buildah("mount", container)),
            user=config.get("User", ""),
            environment=dict(each.split("=", 1) for each in config["Env"]),
            command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
            health_check=tuple((config.get("Healthcheck") or {}).get("Test", ())),
            labels=config.get("Labels") or {},
            # The base is made as one layer.
            own_bytes=sum(layer["size"] for layer in json.loads(inspected["Manifest"])["layers"][1:]),
        )

    def close(self) -> None:
        """Remove every container and image."""
        for words in (("umount", "--all"), ("rm", "--all"), ("rmi", "--all", "--force")):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._buildah(*words)

    def _buildah(self, *words: str) -> str:
        storage = ["--root", str(self._folder / "store"), "--runroot", str(self._folder / "run")]
        return _run("buildah", "--storage-driver", self._driver, *storage, *words)


def _run(*command: str) -> str:
    """What a command wrote, and the last line alone of one that builds. Raises CalledProcessError, with its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout[-4000:], done.stderr[-4000:])
    return done.stdout.strip()


def _pip_configuration() -> str:
    lines = [f"cert = {_CERTIFICATES}"]
    for line in _run("pip", "config", "list").splitlines():
        name, _, quoted = line.partition("=")
        key, value = re.sub(r"^(global|:env:)\.", "", name), ast.literal_eval(quoted)
        if key in _PIP_SETTINGS and "file:" not in value:
            lines.append(f"{key} = {value}")
    return "\n".join(["[global]", *lines, ""])


@contextlib.contextmanager
def running(
    image: Image, mounts: Mapping[Path, str], environment: Mapping[str, str], arguments: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an image's command as its user on a read-only root file system, in the machine's network.

    ``mounts``: folders of the machine, read-only, by the path inside. Ends it with SIGTERM, and its time to stop is
    20 s.
    """
    process = subprocess.Popen(_command(image, mounts, environment, [*image.command, *arguments]))
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_inside(
    image: Image, command: Sequence[str], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run another command as :func:`running` would."""
    return subprocess.run(
        _command(image, {}, environment, command), capture_output=True, text=True, check=False, timeout=60
    )


def _command(
    image: Image, mounts: Mapping[Path, str], environment: Mapping[str, str], command: Sequence[str]
) -> list[str]:
    """A command line that does what a container runtime does, with the programs of util-linux and coreutils.

    Mounts live in a namespace of their own, and end with the process.
    """
    root = image.root
    for inside in ("tmp", "proc", "dev", *(each.lstrip("/") for each in mounts.values())):
        (root / inside).mkdir(parents=True, exist_ok=True)
    steps = [
        "set -e",
        'mount --bind "$1" "$1"',
        'mount -o remount,bind,ro "$1"',
        'mount -t tmpfs tmpfs "$1/tmp"',
        'mount -t proc proc "$1/proc"',
        'mount --rbind /dev "$1/dev"',
        *(f'mount --bind -o ro "{outside.resolve()}" "$1{inside}"' for outside, inside in mounts.items()),
        'root=$1; user=$2; shift 2; exec chroot --userspec="$user" "$root" /usr/bin/env -i "$@"',
    ]
    variables = [f"{name}={value}" for name, value in (dict(image.environment) | dict(environment)).items()]
    return ["unshare", "--mount", "sh", "-c", "\n".join(steps), "sh", str(root), image.user, *variables, *command]


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait for a condition, and return the seconds it took. Raises TimeoutError, saying what did not happen."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return time.monotonic() - began
