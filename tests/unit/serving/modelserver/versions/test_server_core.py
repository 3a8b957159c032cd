"""Configurations and labels are accepted, refused and looked up by TensorFlow Serving's rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.versions.manager import RetryPolicy, VersionManager
from headway_serving.modelserver.versions.server_core import ServerCore
from headway_serving.modelserver.versions.storage_watcher import StorageWatcher
from tests.support.waiting import eventually
from tests.unit.serving.modelserver.fake_loader import FakeLoader, FakeServable

Core = ServerCore[FakeServable]


class Server:
    """A core over the fake loader and a real directory of two models: `digits` (1, 2) and `broken` (1)."""

    def __init__(self, root: Path, *, allow_labels: bool = False, isolate: bool = False) -> None:
        for version in ("digits/1", "digits/2", "letters/1"):
            (root / version).mkdir(parents=True)
            (root / version / "saved_model.pb").touch()
        (root / "broken/1").mkdir(parents=True)
        self.root = root
        self.manager = VersionManager(FakeLoader(), RetryPolicy(retries=0), isolate=isolate)
        self.watcher = StorageWatcher(self.manager.set_aspired, poll_wait_seconds=0.02, isolate=isolate)
        self.core = ServerCore(self.manager, self.watcher, allow_labels_for_unavailable=allow_labels, isolate=isolate)
        self.watcher.start()
        self.manager.start(load_threads=0)

    def reload(self, *models: str) -> None:
        """Apply a list of models, each the text of a ModelConfig without its base path."""
        self.apply("model_config_list {" + "".join(map(self._entry, models)) + "}")

    def apply(self, text: str) -> None:
        self.core.reload(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))

    def refusal(self, *models: str) -> str:
        with pytest.raises(StatusError) as caught:
            self.reload(*models)
        return str(caught.value)

    def answering(self, **spec: Any) -> int:
        """Return the version that answers a request for `digits`."""
        with self.core.acquire(model_spec(**spec)) as handle:
            return handle.number

    def stop(self) -> None:
        self.manager.stop()
        self.watcher.stop()

    def _entry(self, text: str) -> str:
        name = text.split('"')[1]
        path = "" if "base_path" in text else f'base_path: "{self.root / name}"'
        platform = "" if "model_platform" in text else 'model_platform: "tensorflow"'
        return f"config {{ {text} {path} {platform} }}"


def model_spec(name: str = "digits", version: int | None = None, label: str | None = None) -> Any:
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, allow_labels=False)
    yield server
    server.stop()


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, allow_labels=True)
    yield server
    server.stop()


DIGITS = 'name: "digits" model_version_policy { all {} }'
LABEL = 'version_labels {{ key: "{}" value: {} }}'


@pytest.mark.parametrize(
    ("models", "refusal"),
    [
        (
            ['name: "a"', 'name: "a"'],
            "INVALID_ARGUMENT: Illegal to list model a multiple times in config list",
        ),
        (
            ['name: "a" base_path: "models/a"'],
            "INVALID_ARGUMENT: Expected model a to have an absolute path or URI; got base_path()=models/a",
        ),
        (
            ['name: "digits" model_platform: "caffe"'],
            "INVALID_ARGUMENT: Illegal to change a model's platform. For model digits platform was tensorflow "
            "and new platform requested is caffe",
        ),
        (
            [DIGITS, 'name: "a" model_platform: ""'],
            "INVALID_ARGUMENT: Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (
            [DIGITS, 'name: "a" model_platform: "caffe"'],
            "INVALID_ARGUMENT: Model a requests unsupported platform caffe",
        ),
        (
            [DIGITS, 'name: "broken"'],
            "UNKNOWN: 1 model(s) did not become available: {{{name: broken version: 1} due to error: NOT_FOUND: ",
        ),
    ],
)
def test_a_bad_configuration_is_refused_and_what_is_served_stays(server: Server, models: Any, refusal: Any) -> None:
    server.reload(DIGITS)
    assert server.refusal(*models).startswith(refusal)
    assert server.answering() == 2


def test_at_the_first_start_the_failure_speaks_of_servables(server: Server) -> None:
    assert server.refusal('name: "broken"').startswith("UNKNOWN: 1 servable(s) did not become available: {{{name: b")


def test_the_way_from_a_list_to_a_custom_configuration_is_barred(server: Server) -> None:
    server.reload(DIGITS)
    with pytest.raises(StatusError) as caught:
        server.apply("custom_model_config { type_url: 'x' }")
    assert str(caught.value) == (
        "FAILED_PRECONDITION: Cannot transition to requested config. It is only legal to transition from one "
        "ModelConfigList to another."
    )


def test_an_empty_configuration_changes_nothing(server: Server) -> None:
    server.reload(DIGITS)
    server.apply("")
    assert server.answering() == 2


def test_a_list_replaces_the_one_before_it(server: Server) -> None:
    server.reload(DIGITS)
    server.reload('name: "letters"')
    assert server.answering(name="letters") == 1
    eventually(lambda: not server.manager.is_available("digits", 2), "digits unloaded")
    server.reload(DIGITS)
    assert server.answering(version=2) == 2


@pytest.mark.parametrize(
    "refused",
    [
        [DIGITS, 'name: "letters" model_platform: ""'],
        [DIGITS, 'name: "letters" model_platform: "caffe"'],
        [DIGITS, 'name: "letters" version_labels { key: "next" value: 9 }'],
        [DIGITS, 'name: "letters"', 'name: "letters"'],
        [DIGITS, 'name: "letters" base_path: "relative"'],
        [f'{DIGITS} version_labels {{ key: "next" value: 9 }}'],
    ],
)
def test_a_refused_config_leaves_the_state_as_it_was(server: Server, refused: list[str]) -> None:
    server.reload(DIGITS)
    server.reload(f'{DIGITS} version_labels {{ key: "stable" value: 2 }}')
    server.refusal(*refused)
    assert server.answering(label="stable") == 2
    # It is a new model still, so that this waits until it serves.
    server.reload(DIGITS, 'name: "letters"')
    assert server.core.statuses("letters", None)[0].state.name == "AVAILABLE"


def test_a_log_of_requests_that_nobody_writes_is_told_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        server.reload(f"{DIGITS} logging_config {{ sampling_config {{ sampling_rate: 1 }} }}")
    assert [record.message for record in caplog.records if "logging_config" in record.message] == [
        "Model digits asks for a log of its requests (logging_config); the embedded server writes none"
    ]


def test_the_deprecated_model_type_names_the_platform_too(server: Server) -> None:
    server.apply(f'model_config_list {{ config {{ name: "m" base_path: "{server.root}/digits" model_type: 1 }} }}')
    assert server.answering(name="m") == 2


def test_labels_name_versions_that_serve(server: Server) -> None:
    server.reload(DIGITS)
    eventually(lambda: server.manager.is_available("digits", 1), "version 1")
    server.reload(f"{DIGITS} {LABEL.format('stable', 1)} {LABEL.format('canary', 2)} {LABEL.format('next', 2)}")
    assert [server.answering(label=label) for label in ("stable", "canary", "next")] == [1, 2, 2]
    server.reload(f"{DIGITS} {LABEL.format('stable', 2)}")
    assert server.answering(label="stable") == 2
    with pytest.raises(StatusError) as caught:
        server.answering(label="canary")
    assert str(caught.value) == "INVALID_ARGUMENT: Unrecognized servable version label: canary"


def test_a_refused_label_leaves_all_labels_as_they_were(server: Server) -> None:
    server.reload(DIGITS)
    eventually(lambda: server.manager.is_available("digits", 1), "version 1")
    server.reload(f"{DIGITS} {LABEL.format('stable', 1)}")
    assert server.refusal(f"{DIGITS} {LABEL.format('stable', 2)} {LABEL.format('canary', 7)}") == (
        "FAILED_PRECONDITION: Request to assign label to version 7 of model digits, which is not currently "
        "available for inference"
    )
    assert server.answering(label="stable") == 1


def test_with_the_flag_a_new_label_may_name_a_version_to_come_but_a_moved_one_may_not(lenient: Server) -> None:
    lenient.reload(f"{DIGITS} {LABEL.format('stable', 2)} {LABEL.format('next', 3)}")
    with pytest.raises(StatusError) as caught:
        lenient.answering(label="next")
    assert str(caught.value) == "NOT_FOUND: Servable not found for request: Specific(digits, 3)"
    lenient.reload(f"{DIGITS} {LABEL.format('stable', 2)} {LABEL.format('next', 3)}")
    assert "assign label to version 4" in lenient.refusal(f"{DIGITS} {LABEL.format('stable', 4)}")


def test_before_the_first_configuration_labels_are_not_there_yet(server: Server) -> None:
    with pytest.raises(StatusError) as caught:
        server.answering(label="stable")
    assert str(caught.value) == "UNAVAILABLE: Model labels does not init yet.stable"


@pytest.fixture
def isolating(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, isolate=True)
    yield server
    server.stop()


def test_in_isolation_the_start_neither_fails_nor_waits_for_models_that_cannot_serve(isolating: Server) -> None:
    isolating.reload('name: "broken"', 'name: "absent"', DIGITS)
    assert isolating.answering() == 2
    (isolating.root / "absent" / "1").mkdir(parents=True)
    (isolating.root / "absent" / "1" / "saved_model.pb").touch()
    eventually(lambda: isolating.manager.is_available("absent", 1), "the model that came late")


def test_in_isolation_a_later_configuration_still_tells_what_failed(isolating: Server) -> None:
    isolating.reload(DIGITS)
    refused = isolating.refusal(DIGITS, 'name: "broken"', 'name: "absent"')
    assert refused.startswith("UNKNOWN: 1 model(s) did not become available: {{{name: broken version: 1} due to ")
    isolating.reload('name: "letters"', DIGITS)
    assert isolating.answering(name="letters") == 1
