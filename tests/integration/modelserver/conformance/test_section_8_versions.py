"""Section 8: version directories and the states of versions."""

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2

from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest
from tests.integration.modelserver.model_server_process import refusal, write_spec
from tests.integration.modelserver.repository_files import config_list
from tests.support.waiting import eventually

X = {"x": np.array([[2.0]], np.float32)}
Publish = Callable[[str, str, int], Path]


@pytest.fixture
def serve(start: StartServer, tmp_path: Path) -> Callable[..., ServerUnderTest]:
    """Start a server of models below the test's folder: `serve("half", flags=[...])`."""

    def begin(*models: str, flags: tuple[str, ...] = ("--max_num_load_retries=0",)) -> ServerUnderTest:
        config = tmp_path / "models.config"
        config.write_text(config_list(tmp_path, *models))
        return start(f"--model_config_file={config}", *flags)

    return begin


Serve = Callable[..., ServerUnderTest]


def answer(server: ServerUnderTest, model: str = "half") -> float:
    """Return the offset of the half_plus that answers."""
    return float(server.stubs.predict(model, X)["y"][0, 0]) - 1.0


def states(server: ServerUnderTest, *expected: tuple[int, str], model: str = "half") -> None:
    eventually(lambda: server.stubs.states(model) == list(expected), f"{expected}")


def error_of(server: ServerUnderTest, model: str, version: int) -> str:
    request = get_model_status_pb2.GetModelStatusRequest()
    write_spec(request.model_spec, model, version=version)
    (status,) = server.stubs.model.GetModelStatus(request).model_version_status
    return str(status.status.error_message)


def test_a_child_is_a_version_iff_its_name_parses_as_int64(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 1)
    base_path = tmp_path / "half"
    (base_path / "1").rename(base_path / "00000123")
    for name in ("v7", "9.partial", "1e9", "99999999999999999999", "latest"):
        (base_path / name).mkdir()
    server = serve('name: "half" model_version_policy { all {} }').wait_until_ready()
    assert server.stubs.states("half") == [(123, "AVAILABLE")]
    assert answer(server) == 1


def test_a_plain_file_named_as_a_number_is_aspired_and_fails_to_load(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    publish("half_plus_1", "half", 1)
    server = serve("half").wait_until_ready()
    (tmp_path / "half" / "7").touch()
    states(server, (7, "END"), (1, "AVAILABLE"))
    assert error_of(server, "half", 7)
    assert answer(server) == 1


def test_of_two_names_for_one_number_the_lexicographically_last_is_served(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    publish("half_plus_1", "half", 1)
    (tmp_path / "half" / "1").rename(tmp_path / "half" / "007")
    publish("half_plus_2", "half", 7)
    server = serve("half").wait_until_ready()
    assert (server.stubs.states("half"), answer(server)) == ([(7, "AVAILABLE")], 2)


def test_specific_tries_the_number_itself_first(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 7)
    publish("half_plus_2", "half", 2)
    (tmp_path / "half" / "2").rename(tmp_path / "half" / "7 ")
    server = serve('name: "half" model_version_policy { specific { versions: 7 } }').wait_until_ready()
    assert answer(server) == 1


def test_a_partial_copy_fails_to_load_and_is_retried(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 1)
    flags = ("--max_num_load_retries=1000", "--load_retry_interval_micros=100000")
    server = serve("half", flags=flags).wait_until_ready()
    partial = tmp_path / "half" / "2"
    partial.mkdir()
    states(server, (2, "LOADING"), (1, "AVAILABLE"))
    assert answer(server) == 1
    complete = publish("half_plus_2", "elsewhere", 2)
    shutil.copytree(complete / "variables", partial / "variables")
    (complete / "saved_model.pb").rename(partial / "saved_model.pb")
    states(server, (2, "AVAILABLE"), (1, "END"))
    assert answer(server) == 2


def test_a_copy_without_its_variables_loads_and_fails_at_run_time(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    shutil.rmtree(publish("half_plus_1", "half", 1) / "variables")
    server = serve("half").wait_until_ready()
    assert server.stubs.states("half") == [(1, "AVAILABLE")]
    assert refusal(answer, server).startswith("FAILED_PRECONDITION: Could not find variable ")


def test_retries_end_and_a_negative_load_retry_interval_means_no_wait(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    publish("half_plus_1", "half", 1)
    flags = ("--max_num_load_retries=2", "--load_retry_interval_micros=-1")
    server = serve("half", flags=flags).wait_until_ready()
    (tmp_path / "half" / "2").mkdir()
    states(server, (2, "END"), (1, "AVAILABLE"))
    assert "Could not find SavedModel .pb or .pbtxt at supplied export directory path" in error_of(server, "half", 2)


def test_a_missing_base_path_blocks_the_start_and_is_logged_each_second(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    publish("half_plus_1", "half", 1)
    server = serve("half", "absent")
    complaint = (
        "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path "
        f"{tmp_path}/absent for servable absent with error NOT_FOUND: {tmp_path}/absent not found"
    )
    eventually(lambda: server.stderr.count(complaint) >= 2, "two complaints")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    publish("half_plus_2", "absent", 1)
    server.wait_until_ready()
    assert (answer(server), answer(server, "absent")) == (1, 2)


def test_a_base_path_that_goes_missing_freezes_every_model(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 1)
    publish("half_plus_1", "other", 1)
    server = serve("half", "other").wait_until_ready()
    (tmp_path / "other").rename(tmp_path / "gone")
    server.wait_for_log(f"Could not find base path {tmp_path}/other for servable other")
    publish("half_plus_2", "half", 2)
    seen = server.stderr.count("Could not find base path")
    eventually(lambda: server.stderr.count("Could not find base path") >= seen + 2, "two more polls")
    assert server.stubs.states("half") == [(1, "AVAILABLE")]
    assert answer(server, "other") == 1, "what is loaded stays"
    (tmp_path / "gone").rename(tmp_path / "other")
    states(server, (2, "AVAILABLE"), (1, "END"))


def test_a_base_path_without_versions_waits_at_the_start(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    server = serve("half")
    server.wait_for_log(
        f"No versions of servable half found under base path {tmp_path}/half. Did you forget to name your leaf "
        "directory as a number (eg. '/1/')?"
    )
    assert server.process.poll() is None
    publish("half_plus_1", "half", 1)
    server.wait_until_ready()
    assert answer(server) == 1


def test_when_all_versions_are_deleted_everything_is_unloaded(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 1)
    server = serve("half").wait_until_ready()
    shutil.rmtree(tmp_path / "half" / "1")
    states(server, (1, "END"))
    assert refusal(answer, server) == "NOT_FOUND: Servable not found for request: Latest(half)"


def test_deleting_the_highest_version_rolls_back(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    publish("half_plus_1", "half", 1)
    publish("half_plus_2", "half", 2)
    server = serve("half").wait_until_ready()
    assert (server.stubs.states("half"), answer(server)) == ([(2, "AVAILABLE")], 2)
    shutil.rmtree(tmp_path / "half" / "2")
    states(server, (2, "END"), (1, "AVAILABLE"))
    assert (answer(server), error_of(server, "half", 2)) == (1, "")


def test_overwriting_a_loaded_version_in_place_does_nothing(serve: Serve, publish: Publish, tmp_path: Path) -> None:
    loaded = publish("half_plus_1", "half", 1)
    server = serve("half").wait_until_ready()
    shutil.copytree(publish("half_plus_2", "elsewhere", 1), loaded, dirs_exist_ok=True)
    publish("half_plus_3", "half", 0)  # a lower version changes nothing either, and shows that a poll has passed
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(timeout=2.5)
    assert (server.stubs.states("half"), answer(server)) == ([(1, "AVAILABLE")], 1)
