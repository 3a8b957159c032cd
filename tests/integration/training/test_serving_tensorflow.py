"""What training writes is read by the TensorFlow of the newest TensorFlow Serving image, and answers alike there.

`make serving-tensorflow` makes an environment of that version; without it these tests are skipped.
"""

import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_serving.modelserver.apis.tensor_codec import decode
from tests.integration.training.conftest import TrainedRun
from tests.integration.training.runs_here import Workshop
from tests.support import saved_model_answers

VERSION = "2.20"
PYTHON = Path(__file__).parents[3] / f".tensorflow-{VERSION}" / "bin" / "python"
ROWS = 5

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make serving-tensorflow has not been run")


@dataclass(frozen=True)
class Answers:
    """The answers of the training's TensorFlow and of the serving one, by the same keys; models by directory."""

    models: Mapping[str, ModelManifest]
    here: Mapping[str, Any]
    there: Mapping[str, Any]


@pytest.fixture(scope="module")
def answers(trained: TrainedRun, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """A base, a head with it inside, and a head alone, of grey digits and of coloured pictures, in both versions."""
    workshop.train(workshop.head("served-whole"))
    workshop.train(workshop.head("served-alone", "export.form=on_base"))
    chosen: list[tuple[ModelRepository, str]] = [
        (trained.repository, "tiny-base"),
        (trained.repository, "tiny-head"),
        *((workshop.repository, name) for name in ("coloured-base", "served-whole", "served-alone")),
    ]
    models = {str(repository.path(name, 1)): repository.manifest(name, 1) for repository, name in chosen}
    folder = tmp_path_factory.mktemp("answers")
    inputs: dict[str, Any] = {}
    for directory, manifest in models.items():
        inputs |= {f"{directory}|{name}": value for name, value in some_inputs(manifest, directory).items()}
    np.savez(folder / "inputs.npz", **inputs)
    found = [run(python, folder, list(models)) for python in (Path(sys.executable), PYTHON)]
    return Answers(models, *found)


def some_inputs(manifest: ModelManifest, directory: str) -> dict[str, Any]:
    """Values for every signature: random pictures, their PNGs, random features."""
    chance = np.random.default_rng(len(directory))
    images = chance.integers(0, 256, (ROWS, *manifest.image.shape), np.uint8)
    width = {"tiny-base": 4608, "tiny-head": 4608}.get(manifest.model, 8)
    return {
        "serving_default": images,
        "features": images,
        "from_features": chance.random((ROWS, width), np.float32),
        "serving_bytes": np.array([png(image) for image in images]),
        "manifest": np.array([b""] * ROWS),
    }


def png(image: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image.squeeze()).save(written, "PNG")
    return written.getvalue()


def run(python: Path, folder: Path, directories: list[str]) -> dict[str, Any]:
    result = folder / f"{python.parents[1].name}.npz"
    command = [str(python), saved_model_answers.__file__, str(folder / "inputs.npz"), str(result), *directories]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(result) as found:
        return dict(found)


def test_the_other_version_is_that_of_the_serving_image(answers: Answers) -> None:
    assert str(answers.there["version"]).startswith(f"{VERSION}.")
    assert str(answers.here["version"]) != str(answers.there["version"])


def test_every_signature_of_every_form_answers_alike_within_1e_5(answers: Answers) -> None:
    forms = set()
    for directory, manifest in answers.models.items():
        names = answers.there[f"{directory}|signatures"].tolist()
        assert names == answers.here[f"{directory}|signatures"].tolist()
        for name in names:
            here, there = answers.here[f"{directory}|{name}"], answers.there[f"{directory}|{name}"]
            if name == "manifest":
                assert there.tolist() == here.tolist() == [manifest.to_json().encode()] * ROWS
            else:
                assert there.shape == here.shape
                np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-5)
            forms.add((manifest.kind, manifest.form, name))
    whole = ("manifest", "features", "from_features", "serving_default", "serving_bytes")
    assert forms == {
        *(("base", "standalone", name) for name in whole),
        *(("head", "standalone", name) for name in whole),
        *(("head", "on_base", name) for name in ("manifest", "from_features")),
    }


def test_the_warm_up_records_are_read_as_they_were_written(answers: Answers) -> None:
    for directory in answers.models:
        records = answers.there[f"{directory}|records"].tolist()
        assert records == answers.here[f"{directory}|records"].tolist()
        logs = [prediction_log_pb2.PredictionLog.FromString(bytes.fromhex(record)) for record in records]
        rows = [len(decode(value)) for log in logs for value in log.predict_log.request.inputs.values()]
        assert max(rows) > 1
        assert {log.predict_log.request.model_spec.signature_name for log in logs} <= set(
            answers.there[f"{directory}|signatures"].tolist()
        )
