"""Random bytes and mutated requests on both ports: the process lives, blames the request, and still answers.

HEADWAY_FUZZ_SECONDS (6) is how long each kind of fuzz runs, HEADWAY_FUZZ_SEED (1) what it begins with.
"""

import contextlib
import gzip
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.integration.modelserver.conformance.request_messages import (
    classification_request,
    multi_inference_request,
    regression_request,
    with_context,
)
from tests.integration.modelserver.conformance.server_under_test import Program, ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request

SECONDS = float(os.environ.get("HEADWAY_FUZZ_SECONDS", "6"))
SEED = int(os.environ.get("HEADWAY_FUZZ_SEED", "1"))
CALL_SECONDS = 20

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
PICTURES = np.ones([2, 8, 8, 1], np.uint8)

REST_BODIES: dict[str, list[Any]] = {
    "/v1/models/half:predict": [
        {"instances": [[1.0], [2]]},
        {"inputs": {"x": [[1.0]]}},
        {"signature_name": "echo", "instances": ["a", {"b64": "aGk="}]},
        {"signature_name": "add", "instances": [{"a": 1, "b": 2}, {"a": -1e9, "b": 0.5}]},
    ],
    "/v1/models/picture/versions/1:predict": [{"instances": PICTURES.tolist()}],
    "/v1/models/values:predict": [{"signature_name": name, "inputs": [1, 2]} for name in ("int8", "uint64", "float64")],
    "/v1/models/examples:classify": [{"signature_name": "classify", "examples": [{"x": 1.5}, {"x": [2.5]}]}],
    "/v1/models/examples:regress": [
        {"signature_name": "regress", "context": {"y": "a"}, "examples": [{"x": 1.5, "z": [1, True]}]}
    ],
}


@pytest.fixture(scope="module")
def fuzzed(program: Program, conformance_config: Path, monitoring_config: Path) -> Iterator[ServerUnderTest]:
    flags = [f"--model_config_file={conformance_config}", f"--monitoring_config_file={monitoring_config}"]
    with ServerUnderTest(program, *flags, "--rest_api_timeout_in_ms=5000") as server:
        yield server.wait_until_ready()


@pytest.fixture(autouse=True)
def alive_afterwards(fuzzed: ServerUnderTest) -> Iterator[None]:
    """After each test the server answers on both ports, and its log has no failure of its own."""
    yield
    assert fuzzed.process.poll() is None, fuzzed.stderr[-5000:]
    assert fuzzed.stubs.predict("half", {"x": np.array([2], np.float32)})["y"].tolist() == [3]
    assert fuzzed.http("POST", "/v1/models/half:predict", {"instances": [[2.0]]}).json == {"predictions": [[3]]}
    if fuzzed.program.name == "embedded":
        assert "Traceback" not in fuzzed.stderr, fuzzed.stderr[-5000:]


def rounds() -> Iterator[random.Random]:
    """Yield a source of chance for each round until the time is up; a round's number stands in its seed."""
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:
        yield random.Random(f"{SEED} {number}")
        number += 1


def mutated(chance: random.Random, body: bytes) -> bytes:
    """Return `body` with some bytes overwritten, cut out, doubled or put in."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(changed))
        end = min(start + chance.choice([0, 1, 1, 2, 8, 100]), len(changed))
        changed[start:end] = chance.choice(
            [b"", chance.randbytes(chance.randint(1, 8)), bytes(changed[start:end]) * 2, b"\xff", b"\x00", b"9"]
        )
    return bytes(changed)


def unary(server: ServerUnderTest, path: str) -> Callable[..., bytes]:
    return server.stubs.channel.unary_unary(path, lambda raw: raw, lambda raw: raw)


def code_of(call: Callable[..., bytes], body: bytes) -> grpc.StatusCode:
    error = None
    try:
        call(body, timeout=CALL_SECONDS)
    except grpc.RpcError as caught:
        error = caught
    assert error is None or "failed in its own code" not in error.details(), (body, error.details())
    return grpc.StatusCode.OK if error is None else error.code()


def grpc_requests() -> list[tuple[str, bytes]]:
    with_contexts = regression_request("regress")
    with_contexts.input.CopyFrom(with_context((1, 2), 0.5))
    status = predict_request("half", {})
    requests: dict[str, list[Any]] = {
        PREDICTION + "Predict": [
            predict_request("half", {"x": np.array([[1], [2]], np.float32)}),
            predict_request("half", {"texts": np.array([b"a", b"bc"], object)}, signature="echo"),
            predict_request("picture", {"images": PICTURES}, version=1),
            predict_request("values", {"v": np.array([1], np.float16)}, signature="float16"),
        ],
        PREDICTION + "Classify": [classification_request("classify", 0.5, 1)],
        PREDICTION + "Regress": [regression_request("regress", 0.5), with_contexts],
        PREDICTION + "MultiInference": [
            multi_inference_request(("shared", "regress", "regress"), ("shared", "classify", "classify"))
        ],
        PREDICTION + "GetModelMetadata": [status],
        MODEL + "GetModelStatus": [status],
    }
    return [(path, message.SerializeToString()) for path, messages in requests.items() for message in messages]


def test_mutated_grpc_requests_blame_the_request(fuzzed: ServerUnderTest) -> None:
    requests = grpc_requests()
    codes = set()
    for chance in rounds():
        path, body = chance.choice(requests)
        codes.add(code_of(unary(fuzzed, path), mutated(chance, body)))
    # INTERNAL is gRPC's own answer to bytes that are no message of the method's type.
    assert codes <= {getattr(grpc.StatusCode, name) for name in (
        "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL", "DATA_LOSS",
        "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED",
    )}  # fmt: skip
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} <= codes


def test_random_bytes_as_grpc_messages(fuzzed: ServerUnderTest) -> None:
    paths = sorted({path for path, _ in grpc_requests()} | {MODEL + "HandleReloadConfigRequest", "/no/Such"})
    codes = set()
    for chance in rounds():
        codes.add(code_of(unary(fuzzed, chance.choice(paths)), chance.randbytes(chance.randint(0, 200))))
    assert {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED} <= codes


def test_mutated_rest_bodies_blame_the_request(fuzzed: ServerUnderTest) -> None:
    statuses = set()
    for chance in rounds():
        path = chance.choice(sorted(REST_BODIES))
        body = mutated(chance, json.dumps(chance.choice(REST_BODIES[path])).encode())
        headers = {}
        if chance.random() < 0.2:
            body, headers = mutated(chance, gzip.compress(body)), {"Content_Encoding": "gzip"}
        reply = fuzzed.http("POST", path, body, **headers)
        assert reply.status < 500 or reply.status in (501, 504), (body, reply)
        statuses.add(reply.status)
    assert {200, 400} <= statuses


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes, then wait for whatever comes back until the server closes the connection or is silent."""
    received = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def test_random_and_mutated_bytes_as_http(fuzzed: ServerUnderTest) -> None:
    body = json.dumps({"instances": [[1.0]]}).encode()
    plain = [
        b"POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
        b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(body), body),
        b"GET /v1/models/half/metadata HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /v1/models/half HTTP/1.0\r\n\r\n",
        b"GET /monitoring/prometheus/metrics HTTP/1.1\r\n\r\n",
        b"OPTIONS /v1/models/half HTTP/1.1\r\nOrigin: http://a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\nExpect: 100-continue\r\n\r\n",
    ]
    answered = 0
    for chance in rounds():
        sent = (
            chance.randbytes(chance.randint(0, 300)) if chance.random() < 0.3 else mutated(chance, chance.choice(plain))
        )
        received = exchange(fuzzed.rest_port, sent)
        answered += received.startswith(b"HTTP/1.1 ")
        assert b" 500 " not in received.partition(b"\r\n")[0], (sent, received)
    assert answered > 0


def test_random_bytes_as_http_2(fuzzed: ServerUnderTest) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for chance in rounds():
        begin = chance.choice([b"", preface, preface + settings])
        exchange(fuzzed.port, mutated(chance, begin) + chance.randbytes(chance.randint(0, 300)))
