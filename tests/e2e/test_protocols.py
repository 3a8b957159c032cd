"""What docs/protocols.md shows does what it says, against ``headway serve`` with a real model server."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Trained
from tests.e2e.running import Served, serving
from tests.e2e.test_serving_line import HEAD, copied

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocols.md").read_text()
DIGIT = 3


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("protocols")
    with serving(copied(trained, folder).root, folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def picture(trained: Trained) -> Path:
    return next(path for path in trained.samples[HEAD] if path.name.startswith(str(DIGIT)))


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def adapted(text: str, served: Served, picture: Path) -> str:
    """The page's text with this test's gateway and picture."""
    return text.replace("127.0.0.1:8080", served.url.removeprefix("http://")).replace("picture.png", str(picture))


def run_shell(example: str, served: Served, picture: Path) -> Any:
    command = ["bash", "-euo", "pipefail", "-c", adapted(example, served, picture)]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert "error" not in answer
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_the_shell_examples_answer_as_shown(served: Served, picture: Path) -> None:
    metadata, scores, classes, passed_on = (run_shell(each, served, picture) for each in examples("bash"))
    shown_metadata, shown_scores = map(json.loads, examples("json"))
    assert metadata == shown_metadata
    (output,) = scores["outputs"]
    native = served.classify(HEAD, picture.read_bytes()).json()["results"][0]["predictions"]
    assert output["data"] == [prediction["score"] for prediction in sorted(native, key=lambda each: each["label"])]
    (shown,) = shown_scores.pop("outputs")
    assert {**scores, "outputs": None} == {**shown_scores, "outputs": None}
    assert {**output, "data": None} == {**shown, "data": None}
    best = classes["outputs"][0]["data"][0]
    assert best.split(":")[1:] == [str(DIGIT), str(DIGIT)]
    (row,) = passed_on["predictions"]
    assert row.index(max(row)) == DIGIT


def test_the_python_example_prints_the_label(served: Served, picture: Path) -> None:
    (example,) = examples("python")
    command = [sys.executable, "-c", adapted(example, served, picture)]
    label, score = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert label == str(DIGIT)
    assert 0.5 < float(score) <= 1


def test_predict_is_passed_on_word_for_word(served: Served) -> None:
    """An error is the model server's own text, which the gateway does not know."""
    answer = httpx.post(f"{served.url}/v1/models/{HEAD}:predict", content=b'{"instances": [1')
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert answer.text.startswith('{\n    "error": "JSON Parse error')
    page = httpx.get(f"{served.url}/metrics").text
    assert f'headway_requests_total{{arm="stable",code="invalid_request",model="{HEAD}",version="1"}} 1.0' in page


def test_a_server_without_a_rest_port_says_so(trained: Trained, tmp_path: Path) -> None:
    with serving(copied(trained, tmp_path).root, tmp_path / "log", "--rest-port", "0") as running:
        answer = httpx.post(f"{running.url}/v1/models/{HEAD}:predict", json={"instances": []})
        assert (answer.status_code, "HEADWAY_MODEL_SERVER_REST" in answer.json()["error"]) == (501, True)


def test_a_model_server_that_runs_already_is_passed_on_to(served: Served, trained: Trained, tmp_path: Path) -> None:
    (rest_port,) = (
        word.partition("=")[2]
        for word in served.child("headway_serving.modelserver").cmdline()
        if word.startswith("--rest_api_port=")
    )
    flags = ("--model-server", f"127.0.0.1:{served.grpc_port}", "--rest-port", rest_port)
    with serving(copied(trained, tmp_path).root, tmp_path / "log", *flags) as running:
        answer = httpx.post(f"{running.url}/v1/models/{HEAD}:predict", content=b"{")
        assert "JSON Parse error" in answer.json()["error"]
