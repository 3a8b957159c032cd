"""The configuration is replaced at run time, and broken models are told from good ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.model_server_process import ModelServerProcess, refusal
from tests.integration.modelserver.repository_files import HALF, config_list
from tests.support.waiting import eventually

X = {"x": np.array([[2.0]], np.float32)}


@pytest.fixture(autouse=True)
def restored(server: ModelServerProcess, repository: Path) -> Iterator[None]:
    """Give the shared server its own models back after each test."""
    yield
    server.stubs.reload(config_list(repository, HALF, "picture", "defaults"))
    eventually(
        lambda: [state for _, state in server.stubs.states("half")] == ["AVAILABLE"] * 2, "both versions of half"
    )


def test_a_reload_answers_when_new_models_serve_and_drops_the_others(
    server: ModelServerProcess, repository: Path, saved_models: Path
) -> None:
    response = server.stubs.reload(config_list(repository, HALF))
    assert (response.status.error_code, response.HasField("status")) == (0, True)
    eventually(lambda: server.stubs.states("picture") == [(1, "END")], "picture unloaded")
    expected = "NOT_FOUND: Servable not found for request: Latest(picture)"
    assert refusal(server.stubs.predict, "picture", {"images": np.ones([1, 8, 8, 1], np.uint8)}) == expected
    server.stubs.reload(config_list(repository, HALF, "picture"))
    assert server.stubs.predict("picture", {"images": np.ones([1, 8, 8, 1], np.uint8)})["scores"].shape == (1, 2)


def test_labels_choose_versions_and_move_with_the_configuration(server: ModelServerProcess, repository: Path) -> None:
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    server.stubs.reload(config_list(repository, f"{HALF} {labels}"))
    assert server.stubs.predict("half", X, label="stable")["y"].tolist() == [[2.0]]
    assert server.stubs.predict("half", X, label="canary")["y"].tolist() == [[3.0]]
    server.stubs.reload(config_list(repository, f'{HALF} version_labels {{ key: "stable" value: 2 }}'))
    assert server.stubs.predict("half", X, label="stable")["y"].tolist() == [[3.0]]
    expected = "INVALID_ARGUMENT: Unrecognized servable version label: canary"
    assert refusal(server.stubs.predict, "half", X, label="canary") == expected


def test_a_label_on_a_version_that_does_not_serve_is_refused(server: ModelServerProcess, repository: Path) -> None:
    config = config_list(repository, f'{HALF} version_labels {{ key: "next" value: 3 }}')
    assert refusal(server.stubs.reload, config) == (
        "FAILED_PRECONDITION: Request to assign label to version 3 of model half, which is not currently available "
        "for inference"
    )


def test_only_a_list_of_models_can_be_sent(server: ModelServerProcess) -> None:
    assert refusal(server.stubs.reload, "") == (
        "INVALID_ARGUMENT: ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList "
        "is currently supported"
    )


BROKEN = {
    "bad_empty": "NOT_FOUND: Could not find SavedModel .pb or .pbtxt at supplied export directory path: ",
    "bad_graph": "DATA_LOSS: Can't parse ",
    "bad_variables": "DATA_LOSS: ",
    "bad_warmup": "INVALID_ARGUMENT: convolution input must be 4-dimensional: [8,8]",
    "bad_warmup_kind": "UNIMPLEMENTED: Unsupported log_type for warmup: 5",
    "bad_warmup_record": "INVALID_ARGUMENT: Failed to parse warmup record: ",
    "bad_warmup_file": "DATA_LOSS: ",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_cannot_be_served_ends_with_its_error_and_harms_no_other(
    server: ModelServerProcess, repository: Path, name: Any
) -> None:
    refused = refusal(server.stubs.reload, config_list(repository, HALF, name))
    assert refused.startswith(
        f"UNKNOWN: 1 model(s) did not become available: {{{{{{name: {name} version: 1}} due to error: {BROKEN[name]}"
    )
    assert refused.endswith("}, }") or refused.endswith("...TRUNCATED")
    assert server.stubs.states(name) == [(1, "END")]
    assert server.stubs.predict("half", X)["y"].tolist() == [[3.0]]


def test_a_warmup_file_that_is_none_is_explained(server: ModelServerProcess, repository: Path) -> None:
    refused = refusal(server.stubs.reload, config_list(repository, HALF, "bad_warmup_file"))
    assert "Please verify your warmup data is in TFRecord format." in refused


def test_good_warmup_records_were_run_before_the_model_served(server: ModelServerProcess) -> None:
    assert "Number of warmup records read: 1." in server.stderr


def test_a_reload_that_waits_for_a_model_without_versions_ends_with_its_call(
    server: ModelServerProcess, repository: Path
) -> None:
    (repository / "empty").mkdir(exist_ok=True)
    refused = refusal(server.stubs.reload, config_list(repository, HALF, "empty"), timeout=1)
    assert refused.startswith("DEADLINE_EXCEEDED")
    server.stubs.reload(config_list(repository, HALF, "defaults"))
    assert server.stubs.predict("defaults", X)["y"].tolist() == [[2.0]]
