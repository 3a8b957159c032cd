"""What the README tells to type after `headway serve` does what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Trained
from tests.e2e.running import Served, serving
from tests.e2e.test_serving_line import HEAD, copied

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readme")
    with serving(copied(trained, folder).root, folder / "log") as running:
        yield running


def adapted(text: str, served: Served, picture: Path) -> str:
    """The README's text with this test's gateway and picture."""
    return text.replace("http://127.0.0.1:8080", served.url).replace("picture.png", str(picture))


def test_the_python_example_prints_the_label(served: Served, trained: Trained) -> None:
    picture = trained.samples[HEAD][3]
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", adapted(example, served, picture)], capture_output=True, text=True, check=True
    )
    label, score, version = run.stdout.split()
    assert (label, version) == (picture.name[0], "1")
    assert 0.5 < float(score) <= 1


@pytest.mark.parametrize(
    "program",
    [
        "headway classify",
        pytest.param("curl", marks=pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")),
    ],
)
def test_the_shell_examples_answer(served: Served, trained: Trained, program: str) -> None:
    picture = trained.samples[HEAD][3]
    (line,) = re.findall(rf"^({program} .*)$", README, re.MULTILINE)
    words = shlex.split(adapted(line, served, picture))
    if program == "headway classify":
        words = [sys.executable, "-m", "headway_client.cli", *words[1:], "--url", served.url]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.search(rf'png +{picture.name[0]} |"predictions": \[{{"label": "{picture.name[0]}"', run.stdout)
