"""From nothing to a classified picture: train a base and a head, serve both, ask for ten held-out digits.

Run by ``make demo`` (keeps serving until Ctrl-C) and ``make demo-check`` (exits 0 if at least nine of ten are right).
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from headway_client import Client, HeadwayError

RECIPES = ("digits-5to9", "digits-0to4")
PICTURES_EACH = 5
ENOUGH_RIGHT = 9
HEADWAY = [sys.executable, "-m", "headway_client.cli"]


class DemoFailed(Exception):
    """A step did not work; the text says what to do, or what was said above."""


def main() -> int:
    """Run the demo. Exit codes: 0; 1 when a step fails, or with --check when fewer than nine digits are right."""
    try:
        return _demo(_arguments())
    except DemoFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0


def _demo(arguments: argparse.Namespace) -> int:
    repository, samples = arguments.folder / "models", arguments.folder / "samples"
    url, started = f"http://127.0.0.1:{arguments.port}", time.monotonic()
    # Told now, and not after a minute of training.
    _require_free("DEMO_PORT", arguments.port)
    _require_free("DEMO_GRPC_PORT", arguments.grpc_port)

    _say("1. Train a base on the digits 5 to 9, and a head for 0 to 4 on its frozen features")
    training_started = time.monotonic()
    _headway("train", *RECIPES, "--repository", str(repository))
    training_seconds = time.monotonic() - training_started

    _say("2. Write held-out digits that neither has seen")
    for recipe in RECIPES:
        out = ("--out", str(samples / recipe), "--count", str(PICTURES_EACH), "--repository", str(repository))
        _headway("samples", recipe, *out, quiet=True)

    _say("3. Serve both: model server and gateway")
    # Each run of the demo serves what it has just trained.
    for name in ("routes.json", "models.config"):
        (repository / name).unlink(missing_ok=True)
    ports = ["--port", str(arguments.port), "--grpc-port", str(arguments.grpc_port)]
    server = subprocess.Popen([*HEADWAY, "serve", "--repository", str(repository), *ports], start_new_session=True)
    # A terminal that closes or a CI that cancels must not leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _wait_until_ready(server, url)
        _say("4. Classify ten held-out digits through the gateway")
        right, asked = _classify(url, samples)
        print(
            f"\n{right} of {asked} right. Training took {training_seconds:.0f} s, "
            f"everything {time.monotonic() - started:.0f} s.",
            flush=True,
        )
        if arguments.check:
            return 0 if right >= ENOUGH_RIGHT else 1
        _invite(next((samples / RECIPES[-1]).glob("*.png")), url)
        return server.wait()
    finally:
        server.terminate()
        server.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="stop after classifying; exit 0 if nine of ten are right")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where models and pictures go")
    parser.add_argument("--port", type=int, default=int(os.environ.get("DEMO_PORT", "8080")))
    parser.add_argument("--grpc-port", type=int, default=int(os.environ.get("DEMO_GRPC_PORT", "8500")))
    return parser.parse_args()


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoFailed(f"port {port} is in use; choose another: make demo {name}={port + 1}") from error


def _invite(picture: Path, url: str) -> None:
    model = RECIPES[-1]
    print(f"Serving at {url} until Ctrl-C. In another terminal:")
    print(f"  {Path(sys.executable).with_name('headway')} classify {picture} --model {model} --url {url}")
    print(f"  curl --data-binary @{picture} -H 'Content-Type: image/png' {url}/v1/models/{model}:classify")
    print(f"  curl {url}/metrics", flush=True)


def _say(step: str) -> None:
    print(f"\n== {step}", flush=True)


def _headway(*arguments: str, quiet: bool = False) -> None:
    finished = subprocess.run([*HEADWAY, *arguments], check=False, stdout=subprocess.DEVNULL if quiet else None)
    if finished.returncode != 0:
        raise DemoFailed(f"headway {arguments[0]} ended with exit code {finished.returncode}")


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    with Client(url, timeout=5.0) as client:
        while server.poll() is None:
            with contextlib.suppress(HeadwayError):
                if len([model for model in client.models() if model.versions]) == len(RECIPES):
                    return
            time.sleep(0.2)
    raise DemoFailed(f"headway serve ended with exit code {server.returncode}")


def _classify(url: str, samples: Path) -> tuple[int, int]:
    """Print label, score and truth of each picture; return how many were right, and how many were asked."""
    right = asked = 0
    print(f"{'model':<14}{'picture':<14}{'truth':>6}{'label':>7}{'score':>9}")
    with Client(url) as client:
        for recipe in RECIPES:
            for picture in sorted((samples / recipe).glob("*.png")):
                truth = picture.name.partition("-")[0]
                answer = client.classify(picture, model=recipe)
                right, asked = right + (answer.label == truth), asked + 1
                mark = "" if answer.label == truth else "  <- wrong"
                print(f"{recipe:<14}{picture.name:<14}{truth:>6}{answer.label:>7}{answer.score:>9.2%}{mark}")
    return right, asked


if __name__ == "__main__":
    sys.exit(main())
