"""`Client` against a real HTTP server that speaks the contract."""

import io
import json
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import headway_client
from headway_client import (
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    Feedback,
    IgnoredFeedback,
    InvalidRequest,
    InvalidResponse,
    ModelInfo,
    ModelRequired,
    NoPrediction,
    NotFound,
    Overloaded,
    Prediction,
    ServerFailed,
    TimedOut,
    UnsupportedInput,
)
from tests.unit.client.client_fake_gateway import FakeGateway


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, format="PNG")
    return file.getvalue()


def test_one_image_gives_a_typed_answer(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify(png(28, 20), model="digits", request_id="mine")

    assert (answer.model, answer.version, answer.arm, answer.request_id) == ("digits", 2, "stable", "mine")
    assert (answer.label, answer.score) == ("28x20", 0.9875)
    assert answer.top == Prediction("28x20", 0.9875)
    assert [each.label for each in answer.results[0].predictions] == ["28x20", "cat", "elephant"]


def test_the_truth_about_answers_is_told(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify_many([png(28, 20), png(3, 2)], model="digits", request_id="mine")
        told = answer.feedback("28x20", 0)
        assert told == Feedback("digits", 2, "stable", "mine", "28x20", "28x20", 0)
        tally = client.feedback([told, answer.feedback("cat", 1), replace(told, version=99)])
        assert client.feedback(told).counted == 1

    assert (tally.counted, tally.right, tally.wrong, tally.duplicates) == (2, 1, 1, 0)
    assert tally.ignored == (IgnoredFeedback(2, "version_not_found", "There is no version 99."),)
    item = json.loads(gateway.seen[1].images[0])[1]
    assert item == {"request_id": "mine", "index": 1, "version": 2, "arm": "stable", "label": "3x2", "truth": "cat"}


def test_feedback_that_cannot_be_sent_is_refused_here(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify(png(28, 20), model="digits")
        told = answer.feedback("cat")
        for items in ([], [told] * 1001, [told, replace(told, model="letters")]):
            with pytest.raises(UnsupportedInput):
                client.feedback(items)
        with pytest.raises(UnsupportedInput, match="there is no image 1"):
            answer.feedback("cat", 1)
        with pytest.raises(UnsupportedInput, match="which arm"):
            replace(answer, arm=None).feedback("cat")
        with pytest.raises(NoPrediction):
            client.classify(png(3, 2), model="digits", min_confidence=0.999).feedback("cat")
        with pytest.raises(NotFound):
            client.feedback(replace(told, model="letters"))


def test_every_kind_of_image_arrives(gateway: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 2))
    kinds: list[Any] = [path, str(path), png(3, 2), Image.new("CMYK", (3, 2)), np.zeros((2, 3, 3), np.uint8)]
    with Client(gateway.url) as client, path.open("rb") as file:
        assert [client.classify(image, model="digits").label for image in [*kinds, file]] == ["3x2"] * 6


def test_several_images_travel_in_one_request_and_keep_their_order(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify_many([png(1, 1), np.zeros((5, 4), np.uint8), png(3, 3)], model="digits")

    assert [result.top.label for result in answer.results] == ["1x1", "4x5", "3x3"]
    assert len(gateway.seen) == 1
    with pytest.raises(NoPrediction, match="3 images"):
        _ = answer.label


def test_many_may_be_one(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        assert client.classify_many(iter([png(1, 2)]), model="digits").label == "1x2"


@pytest.mark.parametrize("images", ["a.png", b"\x89PNG", []])
def test_what_is_not_several_images_is_refused_before_anything_is_sent(gateway: FakeGateway, images: Any) -> None:
    with Client(gateway.url) as client, pytest.raises(UnsupportedInput):
        client.classify_many(images, model="digits")
    assert gateway.seen == []


def test_options_travel_where_the_contract_says(gateway: FakeGateway) -> None:
    with Client(gateway.url, headers={"X-Team": "blue"}) as client:
        answer = client.classify(
            png(1, 1), model="digits", top_k=2, min_confidence=0.5, routing_key="user 7", timeout=2.5
        )

    (seen,) = gateway.seen
    assert seen.path == "/v1/models/digits:classify"
    assert seen.query == {"top_k": "2", "min_confidence": "0.5"}
    assert seen.headers["content-type"] == "application/octet-stream"
    assert seen.headers["x-routing-key"] == "user 7"
    assert seen.headers["x-request-timeout-ms"] == "2500"
    assert seen.headers["x-team"] == "blue"
    assert len(answer.results[0].predictions) == 1


def test_what_is_not_asked_is_not_sent(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        client.classify(png(1, 1), model="digits")

    (seen,) = gateway.seen
    assert seen.query == {}
    assert seen.headers["x-request-timeout-ms"] == "10000"
    assert not {"x-request-id", "x-routing-key"} & seen.headers.keys()


def test_version_and_label_choose_the_path(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        assert client.classify(png(1, 1), model="digits", version=1).version == 1
        client.classify(png(1, 1), model="digits", label="canary/eu?")
        with pytest.raises(UnsupportedInput, match="one of them"):
            client.classify(png(1, 1), model="digits", version=1, label="stable")

    assert [seen.path for seen in gateway.seen] == [
        "/v1/models/digits/versions/1:classify",
        "/v1/models/digits/labels/canary%2Feu%3F:classify",
    ]


def test_the_only_model_need_not_be_named_and_is_asked_for_once(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        assert client.classify(png(1, 1)).model == "digits"
        assert client.classify(png(1, 1)).model == "digits"

    assert [seen.path for seen in gateway.seen].count("/v1/models") == 1


def test_with_several_models_the_error_names_them(gateway: FakeGateway) -> None:
    gateway.models["letters"] = [1]
    with Client(gateway.url) as client, pytest.raises(ModelRequired, match="digits, letters"):
        client.classify(png(1, 1))


def test_with_no_model_the_error_says_so(gateway: FakeGateway) -> None:
    gateway.models.clear()
    with Client(gateway.url) as client, pytest.raises(ModelRequired, match="serves no model"):
        client.classify(png(1, 1))


def test_models_are_described(gateway: FakeGateway) -> None:
    expected = ModelInfo("digits", 2, (1, 2), {"stable": 2}, ("28x28", "cat", "elephant"))
    with Client(gateway.url) as client:
        assert client.models() == (expected,)
        assert client.model("digits") == client.model() == expected
        with pytest.raises(NotFound):
            client.model("a/b")


def test_problems_become_errors_that_say_what_the_gateway_said(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        with pytest.raises(NotFound) as missing:
            client.classify(png(1, 1), model="nosuch")
        with pytest.raises(InvalidRequest) as text:
            client.classify(b"hello", model="digits")
        with pytest.raises(InvalidRequest) as empty:
            client.classify(b"", model="digits")

    assert (missing.value.status, missing.value.code) == (404, "model_not_found")
    assert missing.value.request_id == "req-problem"
    assert "no model 'nosuch'" in str(missing.value)
    assert text.value.code == "unsupported_image"
    assert empty.value.code == "empty_body"


def test_no_class_above_the_minimum_confidence_is_an_answer_without_a_best(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify(png(1, 1), model="digits", min_confidence=1.0)
    assert answer.results[0].predictions == ()
    with pytest.raises(NoPrediction, match="min_confidence"):
        _ = answer.top


def test_an_overloaded_gateway_says_when_to_come_back(gateway: FakeGateway) -> None:
    problem = json.dumps({"title": "Overloaded", "status": 503, "code": "overloaded", "request_id": "r"}).encode()
    gateway.broken = (503, {"Retry-After": "3"}, problem)
    with Client(gateway.url) as client, pytest.raises(Overloaded) as caught:
        client.classify(png(1, 1), model="digits")
    assert caught.value.retry_after == 3.0


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, b"<html>Bad Gateway</html>", ServerFailed),
        (504, b"", DeadlineExceeded),
        (404, b'{"error": "not ours"}', NotFound),
        (418, b"[]", InvalidRequest),
        (599, b"\xff\xfe", ServerFailed),
    ],
)
def test_an_error_of_something_that_is_no_gateway_is_still_a_problem(
    gateway: FakeGateway, status: int, body: bytes, expected: type[Exception]
) -> None:
    gateway.broken = (
        status,
        {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "X-Request-Id": "proxy-1"},
        body,
    )
    with Client(gateway.url) as client, pytest.raises(expected) as caught:
        client.classify(png(1, 1), model="digits")
    assert isinstance(caught.value, headway_client.ProblemError)
    assert (caught.value.status, caught.value.code) == (status, "unknown")
    assert caught.value.request_id == "proxy-1"
    assert caught.value.retry_after is None


GOOD = {
    "model": "digits",
    "version": 2,
    "arm": "stable",
    "request_id": "r",
    "results": [{"index": 0, "predictions": []}],
}


@pytest.mark.parametrize(
    ("status", "body", "clue"),
    [
        (200, b"<html>hello</html>", "not JSON"),
        (200, b"\xff\xfe\x00", "not JSON"),
        (204, b"", "not JSON"),
        (307, b"", "redirect"),
        (200, b"[]", "the answer"),
        (200, json.dumps({**GOOD, "version": "2"}).encode(), "version"),
        (200, json.dumps({**GOOD, "version": True}).encode(), "version"),
        (200, json.dumps({**GOOD, "arm": 3}).encode(), "arm"),
        (200, json.dumps({k: v for k, v in GOOD.items() if k != "model"}).encode(), "model is missing"),
        (200, json.dumps({**GOOD, "results": []}).encode(), "0 results"),
        (200, json.dumps({**GOOD, "results": [{"index": 1, "predictions": []}]}).encode(), "indexes"),
        (200, json.dumps({**GOOD, "results": [7]}).encode(), "results"),
        (
            200,
            json.dumps({**GOOD, "results": [{"index": 0, "predictions": [{"label": "3"}]}]}).encode(),
            "score",
        ),
        (200, json.dumps({**GOOD, "results": [{"index": 0, "predictions": None}]}).encode(), "predictions"),
    ],
)
def test_a_malformed_answer_is_named_as_such(gateway: FakeGateway, status: int, body: bytes, clue: str) -> None:
    gateway.broken = (status, {"Location": "http://elsewhere"}, body)
    with Client(gateway.url) as client, pytest.raises(InvalidResponse, match=clue):
        client.classify(png(1, 1), model="digits")


def test_a_whole_number_and_an_absent_arm_are_fine(gateway: FakeGateway) -> None:
    predictions = [{"label": "3", "score": 1}]
    answer = {**GOOD, "arm": None, "results": [{"index": 0, "predictions": predictions}]}
    gateway.broken = (200, {}, json.dumps(answer).encode())
    with Client(gateway.url) as client:
        got = client.classify(png(1, 1), model="digits")
    assert got.score == 1.0
    assert got.arm is None


def test_nobody_listening_is_a_failed_connection(gateway: FakeGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Client(url) as client, pytest.raises(ConnectionFailed, match=url):
        client.classify(png(1, 1), model="digits")


def test_a_peer_that_hangs_up_is_a_failed_connection(gateway: FakeGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with Client(f"http://127.0.0.1:{server.getsockname()[1]}") as client, pytest.raises(ConnectionFailed):
            client.models()
        thread.join()


def test_silence_is_a_time_out(gateway: FakeGateway) -> None:
    # Nobody accepts, but the kernel completes the connection: the request is sent and never answered.
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Client(f"http://127.0.0.1:{server.getsockname()[1]}") as client,
        pytest.raises(TimedOut),
    ):
        client.classify(png(1, 1), model="digits", timeout=0.05)


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan")])
def test_an_impossible_timeout_is_refused(gateway: FakeGateway, timeout: float) -> None:
    with pytest.raises(UnsupportedInput, match="seconds above 0"):
        Client(gateway.url, timeout=timeout)
    with Client(gateway.url) as client, pytest.raises(UnsupportedInput, match="seconds above 0"):
        client.classify(png(1, 1), model="digits", timeout=timeout)


@pytest.mark.parametrize("text", ["two\nlines", "é", "\x00"])
def test_text_that_no_header_can_hold_is_refused(gateway: FakeGateway, text: str) -> None:
    with Client(gateway.url) as client, pytest.raises(UnsupportedInput, match="X-Routing-Key"):
        client.classify(png(1, 1), model="digits", routing_key=text)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "", "http://host:port", "localhost"])
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedInput, match="http://HOST:PORT"):
        Client(url)


def test_the_timeout_of_a_request_replaces_the_clients() -> None:
    timeouts: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        return httpx.Response(200, json=GOOD)

    with Client("http://gateway", timeout=7.0, transport=httpx.MockTransport(answer)) as client:
        client.classify(b"image", model="digits")
        client.classify(b"image", model="digits", timeout=2.0)

    assert [set(each.values()) for each in timeouts] == [{7.0}, {2.0}]


def test_a_path_prefix_is_kept() -> None:
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"models": []})

    for url in ("http://gateway/headway", "http://gateway/headway/"):
        with Client(url, transport=httpx.MockTransport(answer)) as client:
            assert client.models() == ()
    assert paths == ["/headway/v1/models"] * 2


def test_every_public_name_can_be_imported_and_nothing_else() -> None:
    for name in headway_client.__all__:
        assert getattr(headway_client, name).__module__.startswith(("headway_client", "types", "typing"))
    assert dir(headway_client) == sorted(headway_client.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = headway_client.nonsense
    assert not hasattr(headway_client, "httpx")


def test_the_client_brings_neither_numpy_nor_pillow() -> None:
    program = "import sys, headway_client; headway_client.Client; print({'numpy', 'PIL'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
