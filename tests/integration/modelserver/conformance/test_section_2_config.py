"""Section 2: which models and versions are served, labels, reloads and transitions."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headway_serving.modelserver.apis.tensor_codec import decode
from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.server_under_test import Program, ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request, refusal
from tests.integration.modelserver.repository_files import HALF, copy_tree
from tests.support.waiting import eventually

X = {"x": np.array([[2.0]], np.float32)}
Publish = Callable[[str, str, int], Path]


class Configured:
    """A server of a repository, reconfigured by RPC or by its polled file; models are texts of a ModelConfig."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "models.config"
        self.server: ServerUnderTest

    def text(self, *models: str) -> str:
        return f"model_config_list {{ {' '.join(map(self._entry, models))} }}"

    def write(self, *models: str) -> None:
        """Replace the configuration file in one step."""
        partial = self.file.with_suffix(".partial")
        partial.write_text(self.text(*models))
        partial.rename(self.file)

    def reload(self, *models: str, timeout: float = 60) -> Any:
        return self.server.stubs.reload(self.text(*models), timeout=timeout)

    def refusal(self, *models: str) -> str:
        return refusal(self.reload, *models)

    def answering(self, name: str = "half", **spec: Any) -> float:
        """Return the version that answers: the offset of its half_plus."""
        return float(self.server.stubs.predict(name, X, **spec)["y"][0, 0]) - 1.0

    def eventually(self, name: str, *states: tuple[int, str]) -> None:
        eventually(lambda: self.server.stubs.states(name) == list(states), f"{states} of {name}")

    def _entry(self, text: str) -> str:
        text = text if '"' in text else f'name: "{text}"'
        path = "" if "base_path" in text else f'base_path: "{self.root}/{text.split(chr(34))[1]}"'
        platform = "" if "model_platform" in text or "model_type" in text else 'model_platform: "tensorflow"'
        return f"config {{ {text} {path} {platform} }}"


def repository(saved_models: Path, root: Path) -> Configured:
    """Make base paths `half` (versions 1 to 3), `other` (1), `broken` (1, an empty directory) and `empty`."""
    for model, version in (("half", 1), ("half", 2), ("half", 3), ("other", 1)):
        (root / model).mkdir(exist_ok=True)
        copy_tree(saved_models / f"half_plus_{version}", root / model / str(version))
    (root / "broken" / "1").mkdir(parents=True)
    (root / "empty").mkdir()
    return Configured(root)


@pytest.fixture(scope="module")
def shared(program: Program, saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """One server for the tests that end with everything restored; it started with all versions of half."""
    configured = repository(saved_models, tmp_path_factory.mktemp("repository"))
    configured.write(HALF)
    flags = [f"--model_config_file={configured.file}", "--max_num_load_retries=0"]
    with ServerUnderTest(program, *flags) as configured.server:
        configured.server.wait_until_ready()
        yield configured


@pytest.fixture
def configured(shared: Configured) -> Configured:
    """All versions of half serve, without labels, and nothing else does."""
    shared.reload(HALF)
    eventually(lambda: [state for _, state in shared.server.stubs.states("half")] == ["AVAILABLE"] * 3, "all of half")
    return shared


@pytest.fixture
def own(start: StartServer, saved_models: Path, tmp_path: Path) -> Callable[..., Configured]:
    """Start a server of the test's own: `own(*models, flags=[...])`."""
    configured = repository(saved_models, tmp_path)

    def begin(*models: str, flags: tuple[str, ...] = (), ready: bool = True) -> Configured:
        configured.write(*models)
        configured.server = start(f"--model_config_file={configured.file}", "--max_num_load_retries=0", *flags)
        if ready:
            configured.server.wait_until_ready()
        return configured

    return begin


LABEL = 'version_labels {{ key: "{}" value: {} }}'


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", [3]),
        ("model_version_policy { latest {} }", [3]),
        ("model_version_policy { latest { num_versions: 2 } }", [3, 2]),
        ("model_version_policy { all {} }", [3, 2, 1]),
        ("model_version_policy { specific { versions: 1 versions: 3 versions: 9 } }", [3, 1]),
        ("model_version_policy { specific {} }", []),
    ],
    ids=["unset_is_latest", "latest_0_is_1", "latest_2", "all", "specific_serves_those_that_exist", "specific_nothing"],
)
def test_versions_chosen(configured: Configured, policy: str, served: list[int]) -> None:
    configured.reload(f'name: "half" {policy}')

    def serving() -> list[int]:
        return [version for version, state in configured.server.stubs.states("half") if state == "AVAILABLE"]

    eventually(lambda: serving() == served, f"{served} serve")


@pytest.mark.parametrize(
    ("models", "error"),
    [
        ((HALF, HALF), "INVALID_ARGUMENT: Illegal to list model half multiple times in config list"),
        (
            ('name: "half" base_path: "relative"',),
            "INVALID_ARGUMENT: Expected model half to have an absolute path or URI; got base_path()=relative",
        ),
        (
            ('name: "half" model_platform: "caffe"',),
            "INVALID_ARGUMENT: Illegal to change a model's platform. For model half platform was tensorflow and new "
            "platform requested is caffe",
        ),
        (
            (f"{HALF} {LABEL.format('next', 9)}",),
            "FAILED_PRECONDITION: Request to assign label to version 9 of model half, which is not currently "
            "available for inference",
        ),
        (
            (HALF, 'name: "other" model_platform: ""'),
            "INVALID_ARGUMENT: Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is other",
        ),
        (
            (HALF, 'name: "other" model_platform: "caffe"'),
            "INVALID_ARGUMENT: Model other requests unsupported platform caffe",
        ),
    ],
    ids=[
        "same_name_twice",
        "relative_base_path",
        "platform_changed",
        "label_on_a_version_not_available",
        "no_platform",
        "unknown_platform",
    ],
)
def test_validation(configured: Configured, models: tuple[str, ...], error: str) -> None:
    assert configured.refusal(*models) == error
    assert configured.answering() == 3


def test_a_new_model_that_failed_to_load_is_told_by_the_reload(configured: Configured) -> None:
    refused = configured.refusal(HALF, "broken")
    assert refused.startswith(
        "UNKNOWN: 1 model(s) did not become available: {{{name: broken version: 1} due to error: NOT_FOUND: "
    )
    assert configured.answering() == 3


def test_a_model_that_failed_to_load_ends_the_first_start(own: Callable[..., Configured]) -> None:
    server = own(HALF, "broken", ready=False).server
    assert server.exit_status() == 255
    assert server.stdout.startswith(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: broken version: 1} "
    )


@pytest.mark.parametrize("text", ["", "custom_model_config { type_url: 'x' }"], ids=["not_set", "custom"])
def test_reload_takes_a_model_config_list_only(configured: Configured, text: str) -> None:
    assert refusal(configured.server.stubs.reload, text) == (
        "INVALID_ARGUMENT: ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList "
        "is currently supported"
    )


def test_a_refused_config_is_not_compared_with_later_ones(program: Program, configured: Configured) -> None:
    if program.name == "real":
        pytest.skip("the real server adopts what it then refuses, and keeps the platform for ever")
    assert "neither ModelServerConfig::model_type" in configured.refusal(HALF, 'name: "other" model_platform: ""')
    assert "unsupported platform caffe" in configured.refusal(HALF, 'name: "other" model_platform: "caffe"')
    configured.reload(HALF, "other")
    assert configured.answering("other") > 0


def test_labels_are_replaced_as_a_whole_and_may_share_a_version(configured: Configured) -> None:
    configured.reload(f"{HALF} {LABEL.format('stable', 1)} {LABEL.format('canary', 2)} {LABEL.format('newest', 2)}")
    assert [configured.answering(label=label) for label in ("stable", "canary", "newest")] == [1, 2, 2]
    configured.reload(f"{HALF} {LABEL.format('stable', 2)}")
    assert configured.answering(label="stable") == 2
    refused = refusal(configured.answering, label="canary")
    assert refused == "INVALID_ARGUMENT: Unrecognized servable version label: canary"


def test_labels_are_checked_before_loading(configured: Configured) -> None:
    latest = 'name: "half" model_version_policy { specific { versions: 1 } }'
    configured.reload(latest)
    configured.eventually("half", (3, "END"), (2, "END"), (1, "AVAILABLE"))
    both = 'name: "half" model_version_policy { specific { versions: 1 versions: 2 } }'
    labelled = f"{both} {LABEL.format('canary', 2)}"
    assert configured.refusal(labelled).startswith("FAILED_PRECONDITION: Request to assign label to version 2 of model")
    configured.reload(both)
    configured.eventually("half", (3, "END"), (2, "AVAILABLE"), (1, "AVAILABLE"))
    configured.reload(labelled)
    assert configured.answering(label="canary") == 2


def test_labels_in_the_first_config_file_end_the_start(own: Callable[..., Configured]) -> None:
    server = own(f"{HALF} {LABEL.format('stable', 1)}", ready=False).server
    assert server.exit_status() == 255
    assert server.stdout == (
        "Failed to start server. Error: FAILED_PRECONDITION: Request to assign label to version 1 of model half, "
        "which is not currently available for inference\n"
    )


def test_allow_version_labels_for_unavailable_models(own: Callable[..., Configured]) -> None:
    flags = ("--allow_version_labels_for_unavailable_models",)
    configured = own(f"{HALF} {LABEL.format('stable', 1)} {LABEL.format('next', 9)}", flags=flags)
    configured.eventually("half", (3, "AVAILABLE"), (2, "AVAILABLE"), (1, "AVAILABLE"))
    assert configured.answering(label="stable") == 1
    refused = refusal(configured.answering, label="next")
    assert refused == "NOT_FOUND: Servable not found for request: Specific(half, 9)"
    moved = configured.refusal(f"{HALF} {LABEL.format('stable', 8)}")
    assert moved.startswith("FAILED_PRECONDITION: Request to assign label to version 8 of model half")


def test_reload_replaces_the_list_and_answers_ok(configured: Configured) -> None:
    response = configured.reload("other")
    assert (response.HasField("status"), response.status.error_code) == (True, 0)
    assert configured.answering("other") == 1
    configured.eventually("half", (3, "END"), (2, "END"), (1, "END"))
    refused = refusal(configured.answering)
    assert refused == "NOT_FOUND: Servable not found for request: Latest(half)"


def test_reload_waits_for_a_new_model_without_versions(own: Callable[..., Configured]) -> None:
    configured = own(HALF)
    refused = refusal(configured.reload, HALF, "empty", timeout=3)
    assert refused.startswith("DEADLINE_EXCEEDED")


def test_reload_does_not_wait_for_new_versions_of_a_known_model(configured: Configured) -> None:
    configured.reload('name: "half" model_version_policy { specific { versions: 1 } }')
    configured.eventually("half", (3, "END"), (2, "END"), (1, "AVAILABLE"))
    wanted = 'name: "half" model_version_policy { specific { versions: 1 versions: 9 } }'
    configured.reload(wanted, timeout=30)
    assert configured.answering() == 1


def test_model_config_file_poll_wait_seconds_applies_the_file_again_and_only_logs_errors(
    own: Callable[..., Configured],
) -> None:
    configured = own(HALF, flags=("--model_config_file_poll_wait_seconds=1",))
    configured.reload(HALF, "other")
    # The file on disk was not rewritten; its next reading takes the model away again.
    eventually(lambda: configured.server.stubs.states("other") == [(1, "END")], "the file's configuration again")
    configured.file.write_text("custom_model_config { type_url: 'x' }")
    configured.server.wait_for_log(
        "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
    )
    configured.file.write_text("")
    configured.server.wait_for_log("Taking no action for empty config.")
    configured.file.write_text("no configuration")
    configured.server.wait_for_log("Invalid protobuf file")
    assert configured.answering() == 3
    configured.write(HALF, "other")
    configured.eventually("other", (1, "AVAILABLE"))


def test_a_new_version_loads_before_the_old_one_is_unloaded(own: Callable[..., Configured]) -> None:
    configured = own("other", flags=("--file_system_poll_wait_seconds=1",))
    stop = threading.Event()

    def ask() -> set[float]:
        answers = set()
        while not stop.is_set():
            answers.add(configured.answering("other"))
        return answers

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask)
        shutil.copytree(configured.root / "half" / "2", configured.root / "other.partial")
        (configured.root / "other.partial").rename(configured.root / "other" / "2")
        configured.eventually("other", (2, "AVAILABLE"), (1, "END"))
        stop.set()
        assert asked.result(timeout=30) <= {1.0, 2.0}
    assert configured.answering("other") == 2


def test_an_unload_waits_for_requests_in_flight(start: StartServer, publish: Publish, tmp_path: Path) -> None:
    for version in (1, 2):
        publish("spin", "spin", version)
    config = tmp_path / "models.config"

    def text(version: int) -> str:
        return (
            f'model_config_list {{ config {{ name: "spin" base_path: "{tmp_path}/spin" model_platform: "tensorflow" '
            f"model_version_policy {{ specific {{ versions: {version} }} }} }} }}"
        )

    config.write_text(text(1))
    server = start(f"--model_config_file={config}").wait_until_ready()
    running = server.stubs.prediction.Predict.future(predict_request("spin", {"n": np.int32(2_000_000_000)}), timeout=8)
    server.stubs.reload(text(2))
    eventually(lambda: server.stubs.states("spin") == [(2, "AVAILABLE"), (1, "UNLOADING")], "1 waits for its request")
    assert not running.done()
    assert decode(server.stubs.prediction.Predict(predict_request("spin", {"n": np.int32(5)})).outputs["counted"]) == 5
    assert running.exception(timeout=60).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: server.stubs.states("spin") == [(2, "AVAILABLE"), (1, "END")], "1 unloaded")
