"""Section 1: the command line. Flags whose effect another section describes are tested there."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.server_under_test import Program
from tests.integration.modelserver.model_server_process import Stubs, predict_request, refusal
from tests.support.ports import free_port

X = {"x": np.array([[2.0]], np.float32)}
Publish = Callable[[str, str, int], Path]


@pytest.fixture
def half(publish: Publish, tmp_path: Path) -> str:
    """The flag that serves half_plus_1 as the model `default`."""
    publish("half_plus_1", "half", 1)
    return f"--model_base_path={tmp_path / 'half'}"


def run(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program.command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_version_exits_0_and_help_255(program: Program) -> None:
    version, usage = run(program, "--version"), run(program, "--help")
    assert version.returncode == 0
    assert version.stdout.startswith("TensorFlow ModelServer: ")
    assert "\nTensorFlow Library: " in version.stdout
    assert usage.returncode == 255
    assert usage.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--port=eighty", "Couldn't interpret value eighty for flag port."),
        ("--enable_batchingX", "Couldn't interpret value X for flag enable_batching."),
        ("--enable_model_warmup=yes", "Couldn't interpret value yes for flag enable_model_warmup."),
    ],
)
def test_a_bad_value_prints_the_usage_and_exits_255(program: Program, argument: str, complaint: str) -> None:
    done = run(program, argument)
    assert (done.returncode, complaint in done.stderr) == (255, True)
    assert done.stdout.startswith("usage: ")


def test_unknown_arguments_do_not_stop_the_server_and_the_last_duplicate_wins(start: StartServer, half: str) -> None:
    port = free_port()
    server = start(half, "surprise", "--model_name", "ignored", "--model_name=a", "--model_name=b", f"--port={port}")
    server.wait_for_log("Running gRPC ModelServer at 0.0.0.0")
    assert server.stdout.startswith("unknown argument: surprise\nusage: ")
    stubs = Stubs(f"127.0.0.1:{port}")
    assert stubs.predict("b", X)["y"].tolist() == [[2.0]]
    stubs.channel.close()


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (
            ["--model_base_path="],
            "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (["--port=0", "--grpc_socket_path=", "--model_base_path=/"], "INVALID_ARGUMENT: At least one of "),
        (
            [
                "--model_base_path=/",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ],
            "INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or ",
        ),
        (["--model_base_path=relative/path"], "INVALID_ARGUMENT: Expected model default to have an absolute path or "),
    ],
)
def test_a_fatal_start_is_told_on_stdout_and_exits_255(start: StartServer, flags: list[str], error: str) -> None:
    server = start(*flags)
    assert server.exit_status() == 255
    assert server.stdout.startswith(f"Failed to start server. Error: {error}")


def test_port_0_listens_on_the_unix_socket_alone(start: StartServer, half: str) -> None:
    server = start(half, "--port=0")
    server.wait_for_log("Running gRPC ModelServer at UNIX socket")
    stubs = Stubs(f"unix:{server.socket_path}")
    assert stubs.predict("default", X)["y"].tolist() == [[2.0]]
    stubs.channel.close()
    assert refusal(server.stubs.prediction.Predict, predict_request("default", X), timeout=5).startswith("UNAVAILABLE")


def test_rest_api_port_0_means_no_rest(start: StartServer, half: str) -> None:
    server = start(half, "--rest_api_port=0").wait_until_ready()
    with pytest.raises(ConnectionRefusedError):
        server.http("GET", "/v1/models/default")


def test_rest_api_port_equal_to_port_is_skipped(start: StartServer, half: str) -> None:
    port = free_port()
    server = start(half, f"--port={port}", f"--rest_api_port={port}")
    server.wait_for_log("Running gRPC ModelServer at 0.0.0.0")
    server.wait_for_log("cannot be same as grpc_port")
    stubs = Stubs(f"127.0.0.1:{port}")
    assert stubs.predict("default", X)["y"].tolist() == [[2.0]]
    stubs.channel.close()


def test_file_system_poll_wait_seconds_0_looks_once(start: StartServer, half: str, publish: Publish) -> None:
    server = start(half, "--file_system_poll_wait_seconds=0").wait_until_ready()
    publish("half_plus_2", "half", 2)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(timeout=2.5)
    assert server.stubs.states("default") == [(1, "AVAILABLE")]


def test_saved_model_tags_chooses_the_graph(start: StartServer, half: str) -> None:
    server = start(half, "--saved_model_tags=serve,gpu", "--max_num_load_retries=0")
    assert server.exit_status() == 255
    assert "NOT_FOUND: Could not find meta graph def matching supplied tags: { gpu serve }" in server.stdout


def test_enable_serialization_as_tensor_content(start: StartServer, half: str) -> None:
    server = start(half, "--enable_serialization_as_tensor_content").wait_until_ready()
    reply = server.stubs.prediction.Predict(predict_request("default", X)).outputs["y"]
    assert (np.frombuffer(reply.tensor_content, np.float32).tolist(), list(reply.float_val)) == ([2.0], [])


def test_tensorflow_session_config_file(start: StartServer, publish: Publish, tmp_path: Path) -> None:
    publish("spin", "spin", 1)
    config = tmp_path / "session.config"
    config.write_text("operation_timeout_in_ms: 300")
    server = start(f"--model_base_path={tmp_path / 'spin'}", f"--tensorflow_session_config_file={config}")
    server.wait_until_ready()
    refused = refusal(server.stubs.predict, "default", {"n": np.int32(2_000_000_000)})
    assert refused.startswith("DEADLINE_EXCEEDED")


def test_flags_that_change_no_answer_are_accepted(start: StartServer, half: str) -> None:
    flags = [
        "--flush_filesystem_caches=false",
        "--per_process_gpu_memory_fraction=0.5",
        "--remove_unused_fields_from_bundle_metagraph=false",
        "--grpc_max_threads=8",
        "--num_load_threads=2",
        "--num_unload_threads=2",
        "--enable_profiler=false",
        "--skip_initialize_tpu",
        "--tensorflow_intra_op_parallelism=1",
        "--tensorflow_inter_op_parallelism=1",
    ]
    server = start(half, *flags).wait_until_ready()
    assert server.stubs.predict("default", X)["y"].tolist() == [[2.0]]
    assert "unknown argument" not in server.stdout


def test_grpc_channel_arguments_reach_grpc(start: StartServer, publish: Publish, tmp_path: Path) -> None:
    publish("spin", "spin", 1)
    arguments = "grpc.max_connection_age_ms=500,grpc.max_connection_age_grace_ms=1,grpc.some_text=a"
    server = start(f"--model_base_path={tmp_path / 'spin'}", f"--grpc_channel_arguments={arguments}")
    server.wait_until_ready()
    # Longer than a connection may live.
    refused = refusal(server.stubs.predict, "default", {"n": np.int32(2_000_000_000)})
    assert refused.startswith("UNAVAILABLE")


def test_enable_grpc_healthcheck_service(start: StartServer, half: str) -> None:
    server = start(half, "--enable_grpc_healthcheck_service").wait_until_ready()
    health = health_pb2_grpc.HealthStub(server.stubs.channel)
    for service in ("", "ModelService", "PredictionService"):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    unknown = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
    assert refusal(health.Check, unknown).startswith("NOT_FOUND")


def test_without_the_flag_there_is_no_health_service(start: StartServer, half: str) -> None:
    server = start(half).wait_until_ready()
    health = health_pb2_grpc.HealthStub(server.stubs.channel)
    assert refusal(health.Check, health_pb2.HealthCheckRequest()).startswith("UNIMPLEMENTED")


def make_certificates(folder: Path) -> None:
    """Write `ca`, and `server` and `client` signed by it, as NAME.key and NAME.pem."""
    ca = folder / "ca"
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run_quietly(*openssl, "-days", "2", "-subj", "/CN=test ca", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    for name in ("server", "client"):
        made = folder / name
        signed = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-addext", "subjectAltName=DNS:localhost"]
        run_quietly(
            *openssl, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{made}.key", "-out", f"{made}.pem", *signed
        )


def run_quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True, timeout=60)


def quoted(file: Path) -> str:
    return '"' + file.read_text().replace("\n", "\\n") + '"'


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.parametrize("verify", [False, True], ids=["any_client", "client_verify"])
def test_ssl_config_file(start: StartServer, half: str, tmp_path: Path, verify: bool) -> None:
    make_certificates(tmp_path)
    ca, key, certificate = (tmp_path / name for name in ("ca.pem", "client.key", "client.pem"))
    config = tmp_path / "ssl.config"
    config.write_text(
        f"server_key: {quoted(tmp_path / 'server.key')} server_cert: {quoted(tmp_path / 'server.pem')} "
        f"custom_ca: {quoted(ca)} client_verify: {str(verify).lower()}"
    )
    server = start(half, f"--ssl_config_file={config}").wait_until_ready()
    without = grpc.ssl_channel_credentials(ca.read_bytes())
    own = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), certificate.read_bytes())
    assert answers(server.port, own)
    assert answers(server.port, without) is not verify
    assert refusal(server.stubs.prediction.Predict, predict_request("default", X), timeout=10).startswith("UNAVAILABLE")
    assert server.http("GET", "/v1/models/default").status == 200, "REST is plain HTTP all the same"


def answers(port: int, credentials: grpc.ChannelCredentials) -> bool:
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        try:
            return bool(predict(predict_request("default", X).SerializeToString(), timeout=10))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
