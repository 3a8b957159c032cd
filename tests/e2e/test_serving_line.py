"""``headway serve``: real model server, real gateway, real pictures, real signals."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headway_client import Client
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from tests.e2e.conftest import Trained
from tests.e2e.running import HEADWAY, Served, headway, serving
from tests.support.ports import free_port
from tests.support.waiting import eventually

HEAD, BASE = "digits-0to4", "digits-5to9"


def copied(trained: Trained, folder: Path) -> ModelRepository:
    """A repository of the test's own, without what another run of ``serve`` wrote."""
    shutil.copytree(trained.repository.root, folder / "models", ignore=shutil.ignore_patterns("*.json.tmp", "*.config"))
    (folder / "models" / "routes.json").unlink(missing_ok=True)
    return ModelRepository(folder / "models")


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    repository = copied(trained, folder)
    with serving(repository.root, folder / "log") as running:
        yield running


def test_held_out_digits_come_back_with_their_label(served: Served, trained: Trained) -> None:
    right = 0
    for model, pictures in trained.samples.items():
        run = headway("classify", *pictures, "--model", model, "--url", served.url, "--json")
        assert run.returncode == 0, run.stderr
        answers = [json.loads(line) for line in run.stdout.splitlines()]
        labels = [answer["predictions"][0]["label"] for answer in answers]
        right += sum(picture.name.startswith(label) for picture, label in zip(pictures, labels, strict=True))
    assert right >= 9


def test_the_answer_is_the_one_the_model_gave_when_it_was_exported(served: Served, trained: Trained) -> None:
    with Client(served.url) as client:
        for model in (HEAD, BASE):
            manifest = trained.repository.manifest(model, 1)
            for sample in manifest.golden:
                scores = {p.label: p.score for p in client.classify(sample.image, model=model).results[0].predictions}
                expected = dict(zip(manifest.labels, sample.scores, strict=True))
                assert scores == pytest.approx(expected, abs=manifest.golden_tolerance(1e-5))


def test_version_and_label_are_two_ways_to_the_same_answer(served: Served, trained: Trained) -> None:
    picture = trained.samples[HEAD][0]
    with Client(served.url) as client:
        plain = client.classify(picture, model=HEAD)
        pinned = client.classify(picture, model=HEAD, version=1)
        labelled = client.classify(picture, model=HEAD, label="stable")
        several = client.classify_many(trained.samples[HEAD], model=HEAD)
    assert (plain.version, plain.arm) == (1, "stable")
    assert plain.results == pinned.results == labelled.results
    assert several.results[0].predictions[0].label == plain.label
    assert len(several.results) == len(trained.samples[HEAD])


def test_the_gateway_tells_what_it_serves(served: Served) -> None:
    with Client(served.url) as client:
        models = {model.name: model for model in client.models()}
    assert models[HEAD].classes == ("0", "1", "2", "3", "4")
    assert models[BASE].classes == ("5", "6", "7", "8", "9")
    assert models[HEAD].stable == 1
    assert models[HEAD].versions == (1,)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status", "code"),
    [
        ("/v1/models/nope:classify", "image/png", b"x", 404, "model_not_found"),
        (f"/v1/models/{HEAD}/versions/99:classify", "image/png", None, 404, "version_not_found"),
        (f"/v1/models/{HEAD}/labels/nope:classify", "image/png", None, 404, "label_not_found"),
        (f"/v1/models/{HEAD}:classify", "image/png", b"This is a text file, not a picture.", 415, "unsupported_image"),
        (f"/v1/models/{HEAD}:classify", "image/png", b"", 400, "empty_body"),
        (f"/v1/models/{HEAD}:classify", "text/plain", b"hello", 415, "unsupported_media_type"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_says_why(
    served: Served, trained: Trained, path: str, content_type: str, body: bytes | None, status: int, code: str
) -> None:
    content = trained.samples[HEAD][0].read_bytes() if body is None else body
    answer = httpx.post(served.url + path, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text


def test_the_command_line_says_what_is_wrong(served: Served, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    for arguments, code in (
        ((text, "--model", HEAD), 1),
        ((text, "--model", "nope"), 1),
        ((tmp_path / "absent.png", "--model", HEAD), 2),
    ):
        run = headway("classify", *arguments, "--url", served.url)
        assert run.returncode == code
        assert run.stderr
        assert "Traceback" not in run.stderr


def test_metrics_count_by_model_version_arm_and_stage(served: Served, trained: Trained) -> None:
    def count(name: str, **labels: str) -> float:
        page = httpx.get(f"{served.url}/metrics").text
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    of_head = {"model": HEAD, "version": "1", "arm": "stable"}
    answered = count("headway_requests_total", code="ok", **of_head)
    timed = count("headway_request_seconds_count", **of_head)
    predicted = count("headway_stage_seconds_count", stage="predict", **of_head)
    assert served.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200
    assert count("headway_requests_total", code="ok", **of_head) == answered + 1
    assert count("headway_request_seconds_count", **of_head) == timed + 1
    assert count("headway_stage_seconds_count", stage="predict", **of_head) == predicted + 1


def test_the_gateway_process_is_small_and_has_no_tensorflow(served: Served, trained: Trained) -> None:
    served.classify(HEAD, trained.samples[HEAD][0].read_bytes())
    process = served.child("headway_serving.gateway")
    assert process.children() == []
    assert process.memory_info().rss < 120e6
    assert not any("tensorflow" in mapping.path for mapping in process.memory_maps())


def test_a_killed_model_server_comes_back_and_the_gateway_says_so_meanwhile(served: Served, trained: Trained) -> None:
    picture = trained.samples[HEAD][0].read_bytes()
    served.child("headway_serving.modelserver").send_signal(signal.SIGKILL)

    def unavailable() -> bool:
        answer = served.classify(HEAD, picture)
        assert answer.status_code in (200, 503)
        if answer.status_code == 503:
            assert answer.json()["code"] == "model_unavailable"
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code == 503

    eventually(unavailable, "the gateway notices that the model server is away")
    assert httpx.get(f"{served.url}/livez").status_code == 200
    # What probes are answered from is two seconds old at most, and the model server takes longer to start.
    eventually(lambda: httpx.get(f"{served.url}/readyz").status_code == 503, "probes say so")
    eventually(served.ready, "the model server is started again")
    assert served.classify(HEAD, picture).status_code == 200


def test_a_killed_gateway_comes_back(served: Served, trained: Trained) -> None:
    killed = served.child("headway_serving.gateway")
    killed.send_signal(signal.SIGKILL)
    eventually(
        lambda: [child for child in served.children("headway_serving.gateway") if child.pid != killed.pid],
        "the gateway is started again",
    )
    eventually(served.ready, "the new gateway is ready")
    assert served.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200


def test_publishing_is_not_deploying_and_deploying_needs_no_restart(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    picture = trained.samples[HEAD][0].read_bytes()
    with serving(repository.root, tmp_path / "log") as running:
        with repository.staging(HEAD) as staged:
            shutil.copytree(repository.path(HEAD, 1), staged, dirs_exist_ok=True)
            assert repository.publish(HEAD, staged) == 2
        assert running.classify(HEAD, picture).json()["version"] == 1
        config = repository.root / "models.config"
        config.write_text(config.read_text().replace("versions: 1", "versions: 1 versions: 2", 1))
        eventually(
            lambda: (
                httpx.post(
                    f"{running.url}/v1/models/{HEAD}/versions/2:classify",
                    content=picture,
                    headers={"Content-Type": "image/png"},
                ).status_code
                == 200
            ),
            "the model server loads the new version beside the old one",
        )
        assert running.classify(HEAD, picture).json()["version"] == 1
        routes = repository.root / "routes.json"
        changed = json.loads(routes.read_text())
        changed["models"][HEAD]["stable"] = 2
        routes.write_text(json.dumps(changed))
        eventually(lambda: running.classify(HEAD, picture).json()["version"] == 2, "the routes file is followed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_behind(trained: Trained, tmp_path: Path, number: signal.Signals) -> None:
    repository = copied(trained, tmp_path)
    with serving(repository.root, tmp_path / "log") as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert len(family) == 2, "model server and gateway"
        assert running.stop(number) == 0
        assert not [process for process in family if process.is_running()]


def test_a_stop_under_load_answers_every_request_that_was_read(trained: Trained, tmp_path: Path) -> None:
    """What the gateway's access log says it worked on has reached the clients, to the last one.

    A connection that is accepted in the moment of the stop, and whose request nobody has read, may be closed instead.
    """
    repository = copied(trained, tmp_path)
    picture = trained.samples[HEAD][0].read_bytes()
    answered: list[int] = []

    def ask(running: Served) -> None:
        while True:
            try:
                answered.append(running.classify(HEAD, picture).status_code)
            except httpx.ConnectError:
                return
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                continue

    with serving(repository.root, tmp_path / "log", environment={"HEADWAY_ACCESS_LOG": "true"}) as running:
        askers = [threading.Thread(target=ask, args=(running,)) for _ in range(32)]
        for asker in askers:
            asker.start()
        eventually(lambda: len(answered) > 200, "the load is on")
        assert running.stop() == 0
        for asker in askers:
            asker.join()
    assert set(answered) == {200}
    assert (tmp_path / "log").read_text().count("headway.access") == len(answered)


def test_an_installed_tensorflow_model_server_is_used_with_the_same_flags_and_files(
    trained: Trained, tmp_path: Path
) -> None:
    """A program of that name on PATH; it writes down its flags and then is the embedded server."""
    repository = copied(trained, tmp_path)
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.parent.mkdir()
    flags = tmp_path / "flags"
    binary.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {flags}\nexec {sys.executable} -m headway_serving.modelserver "$@"\n'
    )
    binary.chmod(binary.stat().st_mode | stat.S_IEXEC)
    with serving(
        repository.root, tmp_path / "log", environment={"PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}"}
    ) as running:
        assert running.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200
    assert f"--port={running.grpc_port}" in flags.read_text().split()
    assert f"--model_config_file={repository.root / 'models.config'}" in flags.read_text().split()


def test_a_model_server_that_runs_already_is_used(served: Served, trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    eventually(served.ready, "the first server is ready")
    target = f"127.0.0.1:{served.grpc_port}"
    with serving(repository.root, tmp_path / "log", "--model-server", target) as running:
        assert running.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200
        commands = [child.cmdline() for child in psutil.Process(running.process.pid).children()]
        assert not [command for command in commands if "headway_serving.modelserver" in command]


def test_one_option_makes_the_model_server_compute_in_bfloat16(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    log = tmp_path / "log"
    with serving(repository.root, log, "--model-server", "embedded", "--mixed-precision", "bfloat16") as running:
        manifest = repository.manifest(HEAD, 1)
        with Client(running.url) as client:
            for sample in manifest.golden:
                scores = {p.label: p.score for p in client.classify(sample.image, model=HEAD).results[0].predictions}
                expected = dict(zip(manifest.labels, sample.scores, strict=True))
                assert scores == pytest.approx(expected, abs=0.05)
        assert "Running inference with bfloat16" in log.read_text()
        assert "keeps its variables" not in log.read_text()


def refused(*arguments: str | Path) -> str:
    run = headway("serve", *arguments)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


def test_an_empty_repository_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "headway train" in refused("--repository", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_refused(served: Served, trained: Trained) -> None:
    port = served.url.rpartition(":")[2]
    assert "--port" in refused("--repository", trained.repository.root, "--port", port)


def test_a_model_server_that_is_not_there_is_refused(trained: Trained, tmp_path: Path) -> None:
    arguments = ("--repository", copied(trained, tmp_path).root, "--model-server", tmp_path / "tensorflow_model_server")
    assert "tensorflow_model_server" in refused(*arguments)


def test_the_precision_of_a_model_server_that_runs_already_cannot_be_chosen(trained: Trained, tmp_path: Path) -> None:
    arguments = ("--repository", copied(trained, tmp_path).root, "--model-server", "127.0.0.1:8500")
    assert "start that one with --mixed_precision=bfloat16" in refused(*arguments, "--mixed-precision", "bfloat16")
    assert "float16" in refused(*arguments, "--mixed-precision", "float16")


def test_broken_routes_are_refused(trained: Trained, tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text('{"schema": 1, "models": {"digits-0to4": {"stabel": 1}}}')
    arguments = ("--repository", trained.repository.root, "--routes", routes, "--models-config", tmp_path / "c")
    said = refused(*arguments)
    assert str(routes) in said
    assert "missing stable" in said
    assert routes.read_text().endswith('{"stabel": 1}}}')


def test_a_configuration_that_is_none_is_refused_and_stays(trained: Trained, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text("this is no configuration {")
    said = refused("--repository", trained.repository.root, "--models-config", config, "--routes", tmp_path / "r.json")
    assert f"{config} is no configuration of a model server" in said
    assert config.read_text() == "this is no configuration {"


def test_a_model_server_that_cannot_start_ends_the_command(trained: Trained, tmp_path: Path) -> None:
    run = headway("serve", "--repository", copied(trained, tmp_path).root, "--model-server", "false",
                  "--port", str(free_port()), "--grpc-port", str(free_port()))  # fmt: skip
    assert run.returncode == 1
    assert "the model server ended at start with exit code 1" in run.stderr


def test_the_manifest_beside_the_model_is_the_one_the_gateway_reads(served: Served, trained: Trained) -> None:
    beside = (trained.repository.path(HEAD, 1) / "assets.extra" / "manifest.json").read_text()
    described = httpx.get(f"{served.url}/v1/models/{HEAD}").json()
    assert described["classes"] == list(ModelManifest.from_json(beside).labels)
    assert described["base"] == {"model": BASE, "version": 1}


def test_serve_help_needs_no_tensorflow() -> None:
    shown = subprocess.run([*HEADWAY, "serve", "--help"], capture_output=True, text=True, check=True)
    assert re.search(r"--model-server auto\|embedded\|PATH\|HOST:PORT", shown.stdout)
