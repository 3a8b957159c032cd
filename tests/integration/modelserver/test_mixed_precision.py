"""In bfloat16 every signature answers as in float32, but for rounding; what needs its variables keeps them."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headway_contract.model_repository import MANIFEST_FILE
from headway_contract.processor import bfloat16_obstacle_here
from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.runtime.mixed_precision import MixedPrecision
from headway_serving.modelserver.runtime.model_loader import ModelLoader
from headway_serving.modelserver.runtime.saved_model import SavedModel, SessionConfig
from headway_serving.modelserver.runtime.saved_model_loader import load_saved_model
from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.model_server_process import ModelServerProcess
from tests.support.contract_examples import manifest, measured_in_bfloat16

ROUNDING = 0.02
"""Some steps of bfloat16 below 1 (0.004): a few layers add up to less, wrong weights to more."""
KEEPS = "keeps its variables"


class Network(tf.Module):
    """A small classifier with the signatures of a head, a table behind an asset, and weights of several dtypes."""

    def __init__(self, words: Path) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=[3, 3, 1, 8], scale=0.4).astype(np.float32))
        self.bias = tf.Variable(tf.zeros([8]))
        self.dense = tf.Variable(random.normal(size=[8, 4], scale=0.6).astype(np.float32))
        self.offset = tf.Variable(tf.constant([3], tf.int64))
        self.names = tf.Variable(["a", "b", "c", "d"])
        self.unused = tf.Variable(7.0)
        self.table = tiny_models.line_numbers(words)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="images")])
    def features(self, images: Any) -> Any:
        convolved = tf.nn.conv2d(tf.cast(images, tf.float32) / 255.0, self.kernel, 1, "SAME")
        return {"features": tf.reduce_mean(tf.nn.relu(tf.nn.bias_add(convolved, self.bias)), [1, 2])}

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="features")])
    def from_features(self, features: Any) -> Any:
        return {"scores": tf.nn.softmax(tf.matmul(features, self.dense))}

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="images")])
    def scores(self, images: Any) -> Any:
        return self.from_features(self.features(images)["features"])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def number(self, words: Any) -> Any:
        line = self.table.lookup(words)
        return {"number": line + self.offset, "name": tf.gather(self.names.read_value(), line)}

    def signatures(self) -> dict[str, Any]:
        return {
            "serving_default": self.scores,
            "features": self.features,
            "from_features": self.from_features,
            "number": self.number,
        }


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    words = folder / "words.txt"
    words.write_text("cat\ndog\n")
    module = Network(words)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.signatures())
    return folder / "saved"


@pytest.fixture
def load() -> Iterator[Callable[..., SavedModel]]:
    """Load a SavedModel, in bfloat16 unless told otherwise; it is closed after the test."""
    loaded: list[SavedModel] = []

    def begin(directory: Path, *, bfloat16: bool = True) -> SavedModel:
        loaded.append(load_saved_model(directory, frozenset({"serve"}), SessionConfig(bfloat16=bfloat16)))
        return loaded[-1]

    yield begin
    for model in loaded:
        model.close()


def ask(model: SavedModel, signature: str, value: Any = None) -> dict[str, Any]:
    message = model.signatures[signature]
    feeds = {tensor.name: value for tensor in message.inputs.values()}
    aliases = sorted(message.outputs)
    return dict(zip(aliases, model.run(feeds, [message.outputs[alias].name for alias in aliases], None), strict=True))


def pictures(count: int = 5) -> Any:
    return np.random.default_rng(1).integers(0, 255, [count, 8, 8, 1], np.uint8)


def test_scores_are_float32_s_but_for_rounding_and_sum_to_1(
    load: Callable[..., SavedModel], network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact, rounded = load(network, bfloat16=False), load(network)
    expected, found = ask(exact, "serving_default", pictures())["scores"], ask(rounded, "serving_default", pictures())
    assert found["scores"].dtype == np.float32
    assert np.abs(found["scores"] - expected).max() < ROUNDING
    assert found["scores"].argmax(1).tolist() == expected.argmax(1).tolist()
    assert found["scores"].sum(1) == pytest.approx(1, abs=ROUNDING)
    assert KEEPS not in caplog.text
    if bfloat16_obstacle_here() is None:
        assert (found["scores"] != expected).any()


def test_every_signature_of_a_frozen_model_answers(
    load: Callable[..., SavedModel], network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact, rounded = load(network, bfloat16=False), load(network)
    features = ask(rounded, "features", pictures())["features"]
    assert features == pytest.approx(ask(exact, "features", pictures())["features"], abs=ROUNDING)
    scores = ask(rounded, "from_features", features)["scores"]
    assert scores == pytest.approx(ask(exact, "serving_default", pictures())["scores"], abs=ROUNDING)
    looked_up = ask(rounded, "number", np.array([b"dog", b"cat"], np.object_))
    assert (looked_up["number"].tolist(), looked_up["name"].tolist()) == ([4, 3], [b"b", b"a"])
    assert KEEPS not in caplog.text


def test_variables_of_a_graph_without_functions_are_frozen(
    load: Callable[..., SavedModel], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], "x")
        weights = tf.compat.v1.get_variable("weights", initializer=[[1.0], [2.0]], use_resource=True)
        y = tf.matmul(x, weights, name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": y})
    assert ask(load(tmp_path / "saved"), "serving_default", np.array([[3, 4]], np.float32))["y"].tolist() == [[11.0]]
    assert KEEPS not in caplog.text


def test_a_model_that_assigns_its_variable_keeps_it(
    load: Callable[..., SavedModel], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_models.save_counting(tmp_path / "saved")
    model = load(tmp_path / "saved")
    assert [ask(model, "serving_default", np.array([2], np.int32))["count"].tolist() for _ in range(3)] == [
        [2],
        [4],
        [6],
    ]
    assert ask(model, "read")["count"] == 6
    assert f"{tmp_path / 'saved'} {KEEPS}" in caplog.text
    assert "AssignAddVariableOp" in caplog.text


class Loop(tf.Module):
    """Reads its variable in the body of a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.step = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def run(self, x: Any) -> Any:
        return {"y": tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y + self.step), (0, x))[1]}


class Remembering(tf.Module):
    """A table whose content is in the checkpoint, and a variable beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.step = tf.Variable(2.0)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
        self.table.insert([1], [6])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def run(self, x: Any) -> Any:
        return {"y": tf.cast(self.table.lookup(tf.cast(x, tf.int64)), tf.float32) + self.step}


class Rows(tf.Module):
    """Picks rows of its variable without reading all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = tf.Variable([1.0, 8.0, 9.0])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def run(self, x: Any) -> Any:
        return {"y": tf.gather(self.rows, tf.cast(x, tf.int32))}


@pytest.mark.parametrize(("module", "answer"), [(Loop, 7.0), (Remembering, 8.0), (Rows, 8.0)])
def test_what_cannot_be_frozen_answers_all_the_same_and_the_log_says_so(
    load: Callable[..., SavedModel], module: type, answer: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = module()
    tf.saved_model.save(made, str(tmp_path / "saved"), signatures={"serving_default": made.run})
    assert ask(load(tmp_path / "saved"), "serving_default", np.array([1], np.float32))["y"].tolist() == [answer]
    assert KEEPS in caplog.text


def test_a_model_without_its_variables_loads_and_fails_when_it_is_run(
    load: Callable[..., SavedModel], network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "saved" / "assets").mkdir(parents=True)
    for file in ("saved_model.pb", "assets/words.txt"):
        (tmp_path / "saved" / file).write_bytes((network / file).read_bytes())
    model = load(tmp_path / "saved")
    with pytest.raises(StatusError) as caught:
        ask(model, "serving_default", pictures())
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert KEEPS in caplog.text


@pytest.mark.parametrize(
    ("mode", "allowed", "narrow"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("auto", None, False),
        ("off", True, False),
        ("bfloat16", False, False),
        ("bfloat16", None, True),
    ],
)
def test_a_version_is_computed_in_bfloat16_only_if_its_manifest_allows_it(
    load: Callable[..., SavedModel], network: Path, tmp_path: Path, mode: str, allowed: bool | None, narrow: bool
) -> None:
    directory = tmp_path / "version"
    shutil.copytree(network, directory)
    if allowed is not None:
        (directory / MANIFEST_FILE).parent.mkdir()
        precisions = (measured_in_bfloat16(allowed=allowed),)
        (directory / MANIFEST_FILE).write_text(manifest(precisions=precisions).to_json())
    exact = ask(load(network, bfloat16=False), "serving_default", pictures())["scores"]
    rounded = ask(load(network), "serving_default", pictures())["scores"]
    metrics = ServerMetrics()
    loader = ModelLoader(
        frozenset({"serve"}), SessionConfig(), MixedPrecision(mode, None), PredictOptions(), 0, metrics=metrics
    )
    with contextlib.closing(loader.load(directory)) as model:
        assert isinstance(model, SavedModel)
        found = ask(model, "serving_default", pictures())["scores"]
    assert (found == (rounded if narrow else exact)).all()
    precision = "bfloat16" if narrow else "float32"
    assert f'precision="{precision}"}} 1' in metrics.page()


def test_the_server_runs_models_in_bfloat16(network: Path, tmp_path: Path) -> None:
    base = tmp_path / "network"
    base.mkdir()
    (base / "1").symlink_to(network)
    with ModelServerProcess(f"--model_base_path={base}", "--mixed_precision=bfloat16") as server:
        server.wait_until_ready()
        scores = server.stubs.predict("default", {"images": pictures()})["scores"]
        number = server.stubs.predict("default", {"words": np.array([b"dog"], np.object_)}, signature="number")
        assert scores.sum(1) == pytest.approx(1, abs=1e-5)
        assert number["number"].tolist() == [4]
        assert KEEPS not in server.stderr
        assert ("does not pay" in server.stderr) == (bfloat16_obstacle_here() is not None)


def test_another_precision_ends_the_start(network: Path) -> None:
    with ModelServerProcess(f"--model_base_path={network}", "--mixed_precision=float16") as server:
        assert server.exit_status() == 255
        assert server.stdout.startswith("Failed to start server. Error: INVALID_ARGUMENT: server_options.mixed_prec")
