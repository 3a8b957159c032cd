"""Predict over the local socket answers as over gRPC, and is gone with the server."""

import contextlib
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from headway_serving.modelserver.apis.tensor_codec import decode
from headway_serving.wire.local_frames import ANSWER, MOST_BYTES, REQUEST
from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request
from tests.support.waiting import eventually

X = np.array([2.0, 4.0], np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save_half_plus(folder / "half_plus" / "1", 2.0)
    tiny_models.save_spin(folder / "spin" / "1")
    names = ("half_plus", "spin")
    configs = "".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}' for name in names
    )
    (folder / "models.config").write_text(f"model_config_list {{ {configs} }}")
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "local.sock"


def start(models: Path, path: Path) -> ModelServerProcess:
    return ModelServerProcess(f"--model_config_file={models / 'models.config'}", f"--local_socket_path={path}")


@pytest.fixture
def server(models: Path, path: Path) -> Iterator[ModelServerProcess]:
    with start(models, path) as running:
        yield running.wait_until_ready()


@contextlib.contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        eventually(lambda: connection.connect_ex(str(path)) == 0, "it listens")
        yield connection


def receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionResetError
        received += piece
    return received


def ask(connection: socket.socket, message: bytes, seconds: float = 30.0) -> tuple[int, bytes]:
    connection.sendall(REQUEST.pack(len(message), seconds, 0) + message)
    size, code = ANSWER.unpack(receive(connection, ANSWER.size))
    return code, receive(connection, size)


def half_plus(**spec: Any) -> bytes:
    message: bytes = predict_request("half_plus", {"x": X}, **spec).SerializeToString()
    return message


def spin() -> bytes:
    message: bytes = predict_request("spin", {"n": np.array(2_000_000_000, np.int32)}).SerializeToString()
    return message


def test_answers_and_errors_are_those_of_grpc(server: ModelServerProcess, path: Path) -> None:
    expected = server.stubs.predict("half_plus", {"x": X})
    with connected(path) as connection:
        for _ in range(3):
            code, answer = ask(connection, half_plus())
            found = predict_pb2.PredictResponse.FromString(answer)
            assert code == 0
            assert {alias: decode(tensor).tolist() for alias, tensor in found.outputs.items()} == {
                alias: value.tolist() for alias, value in expected.items()
            }
            assert found.model_spec.version.value == 1
        code, text = ask(connection, half_plus(version=7))
        assert (code, b"half_plus" in text) == (5, True)
        assert ask(connection, half_plus(signature="nothing"))[0] in (3, 9)
        assert ask(connection, b"\xff\xff") == (3, b"the message is no PredictRequest")
        assert ask(connection, b"")[0] == 3
        assert ask(connection, half_plus(), seconds=0.0)[0] == 4
        assert ask(connection, half_plus())[0] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_call_ends_with_its_time(server: ModelServerProcess, path: Path) -> None:
    assert server.process.poll() is None
    with connected(path) as connection:
        assert ask(connection, spin(), seconds=0.2)[0] == 4


def test_many_connections_ask_at_the_same_time(server: ModelServerProcess, path: Path) -> None:
    assert server.process.poll() is None
    codes: list[int] = []

    def work() -> None:
        with connected(path) as connection:
            codes.extend(ask(connection, half_plus())[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 320


def test_who_announces_too_much_or_goes_in_the_middle_harms_nobody(server: ModelServerProcess, path: Path) -> None:
    with connected(path) as connection:
        connection.sendall(REQUEST.pack(MOST_BYTES + 1, 1.0, 0))
        assert connection.recv(1) == b""
    with connected(path) as connection:
        connection.sendall(REQUEST.pack(1000, 1.0, 0) + b"x")
    with connected(path) as connection:
        assert ask(connection, half_plus())[0] == 0
    assert "Traceback" not in server.stderr


def test_a_call_under_way_is_answered_before_the_server_stops(server: ModelServerProcess, path: Path) -> None:
    with connected(path) as connection, connected(path) as idle:
        message = spin()
        connection.sendall(REQUEST.pack(len(message), 2.0, 0) + message)
        eventually(lambda: server.process.poll() is None and path.exists(), "it runs")
        threading.Event().wait(0.5)
        server.terminate()
        size, code = ANSWER.unpack(receive(connection, ANSWER.size))
        assert (code, size > 0) == (4, True)
        assert idle.recv(1) == b""
    assert server.exit_status() == 0
    assert not path.exists()


def test_the_place_of_a_killed_server_is_taken_over_and_that_of_a_running_one_is_not(models: Path, path: Path) -> None:
    with start(models, path) as killed:
        killed.wait_until_ready()
        eventually(path.exists, "it listens")
        killed.process.send_signal(signal.SIGKILL)
        killed.exit_status()
    assert path.exists()
    with start(models, path) as server:
        server.wait_until_ready()
        with connected(path) as connection:
            assert ask(connection, half_plus())[0] == 0
        with start(models, path) as second:
            assert second.exit_status() == 255
            assert f"--local_socket_path={path} cannot be used" in second.stdout + second.stderr
        with connected(path) as connection:
            assert ask(connection, half_plus())[0] == 0
