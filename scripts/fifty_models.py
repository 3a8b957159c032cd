"""What many models cost: the start, and a probe, a listing and a scrape of the gateway.

``python -m scripts.fifty_models MODELS/NAME/VERSION PICTURE`` serves fifty copies of one version, each under a name of
its own, and prints seconds of CPU beside seconds: on a busy machine only those compare.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

NAMES = [f"m{number:02}" for number in range(50)]
GRPC_PORT, PORT, ADMIN_PORT = 28500, 28080, 28090
URL, ADMIN_URL = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{ADMIN_PORT}"
ROUNDS = 60


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", type=Path, help="a published version, such as models/digits-5to9/1")
    parser.add_argument("picture", type=Path, help="a picture that it classifies")
    arguments = parser.parse_args()
    picture = arguments.picture.read_bytes()
    with tempfile.TemporaryDirectory(dir=arguments.version.resolve().parents[1]) as folder:
        _write(Path(folder), arguments.version)
        began = time.monotonic()
        with _running(Path(folder)) as (server, gateway):
            while not _classified(NAMES[0], picture):
                time.sleep(0.1)
            print(f"first answer after {time.monotonic() - began:.1f} s, {_cpu(server):.1f} s of CPU", flush=True)
            while not all(_classified(name, picture) for name in NAMES):
                time.sleep(0.1)
            for url in (f"{URL}/readyz", f"{URL}/v1/models", f"{ADMIN_URL}/metrics"):
                _measure(url, gateway)
            before = _cpu(gateway)
            time.sleep(10)
            print(f"without requests the gateway takes {10 * (_cpu(gateway) - before):.1f} % of a core", flush=True)
    return 0


def _write(folder: Path, version: Path) -> None:
    """Fifty models that share the files of one version, and the two files that serve them."""
    configs = []
    for name in NAMES:
        shutil.copytree(version, folder / "models" / name / "1", copy_function=os.link)
        path = folder / "models" / name
        configs.append(
            f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" '
            "model_version_policy { specific { versions: 1 } } }"
        )
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}\n")
    (folder / "routes.json").write_text(json.dumps({"schema": 2, "models": {name: {"stable": 1} for name in NAMES}}))


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """The model server and the gateway."""
    settings = {
        "HEADWAY_PORT": str(PORT),
        "HEADWAY_ADMIN_PORT": str(ADMIN_PORT),
        "HEADWAY_MODEL_SERVER": f"127.0.0.1:{GRPC_PORT}",
        "HEADWAY_ROUTES_FILE": str(folder / "routes.json"),
        "HEADWAY_LOG_LEVEL": "error",
    }
    flags = [f"--port={GRPC_PORT}", f"--model_config_file={folder / 'models.config'}"]
    server = subprocess.Popen([sys.executable, "-m", "headway_serving.modelserver", *flags], stderr=subprocess.DEVNULL)
    gateway = subprocess.Popen([sys.executable, "-m", "headway_serving.gateway"], env={**os.environ, **settings})
    try:
        yield psutil.Process(server.pid), psutil.Process(gateway.pid)
    finally:
        for each in (gateway, server):
            each.terminate()
            each.wait(60)


def _classified(name: str, picture: bytes) -> bool:
    url = f"{URL}/v1/models/{name}:classify"
    try:
        return httpx.post(url, content=picture, headers={"Content-Type": "image/png"}, timeout=30).is_success
    except httpx.HTTPError:
        return False


def _measure(url: str, gateway: psutil.Process) -> None:
    with httpx.Client(timeout=30) as client:
        client.get(url)
        before, times = _cpu(gateway), []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            body = client.get(url).raise_for_status().content
            times.append(time.perf_counter() - began)
    cpu = (_cpu(gateway) - before) / ROUNDS
    print(
        f"{url.rpartition('/')[2]}: {len(body):,} bytes, {1000 * statistics.median(times):.1f} ms (quickest "
        f"{1000 * min(times):.1f}), {1000 * cpu:.1f} ms of CPU",
        flush=True,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(main())
