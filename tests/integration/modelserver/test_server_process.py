"""Starting the server: command line, readiness, and every way to fail."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.model_server_process import (
    COMMAND,
    ModelServerProcess,
    Stubs,
    predict_request,
    refusal,
)
from tests.integration.modelserver.repository_files import config_list, copy_tree
from tests.support.ports import free_port
from tests.support.waiting import eventually

X = {"x": np.array([[2.0]], np.float32)}


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_version_names_server_and_library() -> None:
    done = run_command("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("TensorFlow ModelServer: ")
    assert "\nTensorFlow Library: 2." in done.stdout


def test_bind_address_listens_there_and_nowhere_else(saved_models: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    copy_tree(saved_models / "half_plus_1", tmp_path / "half" / "1")
    port, rest_port = free_port(), free_port()
    flags = [f"--model_base_path={tmp_path / 'half'}", f"--rest_api_port={rest_port}", "--bind_address=127.0.0.1"]
    with ModelServerProcess(*flags, port=port) as server:
        server.wait_until_ready()
        eventually(lambda: is_open("127.0.0.1", rest_port), "REST")
        assert is_open("127.0.0.1", port)
        assert not any(is_open("127.0.0.2", each) for each in (port, rest_port)), "an address of this machine too"


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def test_help_shows_the_usage() -> None:
    done = run_command("--help")
    assert (done.returncode, done.stderr) == (255, "")
    assert "\t--model_config_file_poll_wait_seconds=0" in done.stdout


def test_a_bad_value_shows_the_usage_and_ends() -> None:
    done = run_command("--port=eighty")
    assert done.returncode == 255
    assert "Couldn't interpret value eighty for flag port." in done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--port=8500"],
            "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (["--use_alts_credentials"], "UNIMPLEMENTED: flag --use_alts_credentials is not supported"),
    ],
)
def test_what_cannot_be_served_is_said_on_stdout(arguments: Any, expected: Any) -> None:
    done = run_command(*arguments)
    assert done.returncode == 255
    assert done.stdout.startswith(f"Failed to start server. Error: {expected}")
    assert "Traceback" not in done.stderr


def test_a_broken_model_ends_the_start_and_unknown_arguments_do_not(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text(config_list(repository, "half", "bad_empty"))
    flags = [f"--model_config_file={config}", "--max_num_load_retries=0", "--skip_initialize_tpu"]
    done = run_command("surprise", *flags)
    assert done.returncode == 255
    assert done.stdout.startswith("unknown argument: surprise\nusage: ")
    assert (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: bad_empty "
        "version: 1} due to error: NOT_FOUND: Could not find SavedModel .pb or .pbtxt at supplied export directory"
    ) in done.stdout
    assert "W serving: flag --skip_initialize_tpu is not supported by the embedded server and is ignored" in done.stderr
    unexpected = [line for line in done.stderr.splitlines() if not line.startswith(("I ser", "W ser", "E ser"))]
    assert unexpected == []


def test_sigterm_ends_a_server_that_still_waits_for_a_model(tmp_path: Path) -> None:
    with ModelServerProcess(f"--model_base_path={tmp_path}") as server:
        server.wait_for_log("No versions of servable default found under base path")
        server.terminate()
        assert server.exit_status() == 0
        assert server.stdout == ""


def test_the_flags_of_a_real_command_line_take_effect(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text(config_list(repository, 'name: "half" version_labels { key: "next" value: 9 }'))
    port = free_port()
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models",
        "--enable_serialization_as_tensor_content=true",
        "--enable_signature_method_name_check=true",
        "--tensorflow_session_parallelism=1",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=600000",
        "--num_load_threads=2",
        "--num_unload_threads=1",
        "--max_num_load_retries=0",
    ]
    with ModelServerProcess(*flags, port=port) as server:
        server.wait_until_ready()
        assert f"I serving: Running gRPC ModelServer at 0.0.0.0:{port} ..." in server.stderr.splitlines()
        stubs = Stubs(f"127.0.0.1:{port}")
        response = stubs.prediction.Predict(predict_request("half", X))
        assert np.frombuffer(response.outputs["y"].tensor_content, np.float32).tolist() == [3.0]
        assert not response.outputs["y"].float_val
        expected = "NOT_FOUND: Servable not found for request: Specific(half, 9)"
        assert refusal(stubs.predict, "half", X, label="next") == expected
        refused = refusal(stubs.predict, "half", {}, signature="__saved_model_init_op")
        assert refused.startswith("INTERNAL: Expected prediction signature method_name to be one of {tensorflow/serv")

        config.write_text("model_config_list { nonsense }")
        server.wait_for_log(f"E serving: Failed to read ModelServerConfig file: Invalid protobuf file: '{config}'")
        config.write_text(config_list(repository, "defaults", "half"))
        server.wait_for_log("Successfully loaded servable version {name: defaults version: 1}")
        eventually(lambda: stubs.states("defaults") == [(1, "AVAILABLE")], "the added model")

        taken = run_command(f"--port={port}", f"--model_base_path={repository / 'half'}")
        assert taken.returncode == 255
        assert taken.stdout == "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server\n"
        assert f"Cannot listen on 0.0.0.0:{port}" in taken.stderr
        assert stubs.states("half") == [(2, "AVAILABLE")]
        stubs.channel.close()


def test_starting_loads_neither_keras_nor_the_public_api_of_tensorflow() -> None:
    code = (
        "from headway_serving.modelserver.process import lean_tensorflow; lean_tensorflow.install()\n"
        "import headway_serving.modelserver.server, sys\n"
        "print([name for name in ('keras', 'tensorflow._api', 'tensorflow.lite') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_the_port_opens_only_after_the_models_serve(server: ModelServerProcess) -> None:
    log = server.stderr
    assert log.index("Successfully loaded servable version {name: half") < log.index("Running gRPC ModelServer")
