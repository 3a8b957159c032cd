"""NVIDIA's Triton client, which speaks the Open Inference Protocol and its extensions, over a real socket."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException
from werkzeug.serving import make_server

from tests.integration.gateway.gateway_under_test import GatewayUnderTest, picture


@pytest.fixture
def client(gateway: GatewayUnderTest) -> Iterator[InferenceServerClient]:
    server = make_server("127.0.0.1", 0, gateway.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = InferenceServerClient(f"127.0.0.1:{server.server_port}")
    yield client
    client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def pixels_input(*digits: int, binary: bool = True) -> InferInput:
    pixels = np.stack([np.full((28, 28, 1), digit, np.uint8) for digit in digits])
    tensor = InferInput("images", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def pictures_input(*digits: int) -> InferInput:
    tensor = InferInput("images", [len(digits)], "BYTES")
    tensor.set_data_from_numpy(np.array([picture(digit) for digit in digits], np.object_))
    return tensor


INPUTS = {
    "pixels": pixels_input(4, 0),
    "pixels in JSON": pixels_input(4, 0, binary=False),
    "pictures": pictures_input(4, 0),
}


@pytest.mark.parametrize("tensor", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("binary", [True, False], ids=["binary out", "JSON out"])
def test_scores_and_classes_arrive(client: InferenceServerClient, tensor: InferInput, binary: bool) -> None:
    outputs = [InferRequestedOutput("scores", binary_data=binary)]
    result = client.infer("digits", [tensor], outputs=outputs, request_id="42")
    scores = result.as_numpy("scores")
    assert (scores.dtype, scores.shape) == (np.float32, (2, 5))
    assert scores.argmax(axis=1).tolist() == [4, 0]
    assert np.all(scores.max(axis=1) == np.float32(0.9))
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("42", "1")
    outputs = [InferRequestedOutput("scores", binary_data=binary, class_count=1)]
    classes = client.infer("digits", [tensor], model_version="2", outputs=outputs).as_numpy("scores")
    told = [text.decode() if isinstance(text, bytes) else text for text in classes.ravel()]
    assert (classes.shape, told) == ((2, 1), ["0.9:4:4", "0.9:0:0"])


def test_without_wanted_outputs_the_scores_come_in_binary(client: InferenceServerClient) -> None:
    result = client.infer("digits", [pictures_input(3)])
    assert result.get_output("scores")["parameters"] == {"binary_data_size": 20}
    assert result.as_numpy("scores").argmax() == 3


def test_health_and_metadata_are_understood(client: InferenceServerClient, gateway: GatewayUnderTest) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "2")
    assert not client.is_model_ready("digits", "9")
    assert not client.is_model_ready("letters")
    assert "classification" in client.get_server_metadata()["extensions"]
    metadata: dict[str, Any] = client.get_model_metadata("digits")
    (declared,) = metadata["inputs"]
    assert (declared["name"], declared["datatype"], declared["shape"]) == ("images", "UINT8", [-1, 28, 28, 1])
    gateway.server.away = True
    assert not client.is_server_ready()
    assert client.is_server_live()


def test_errors_are_understood(client: InferenceServerClient) -> None:
    for name, error, status in (("letters", "no model is named 'letters'", "404"), ("digits", "counted from 0", "415")):
        text = InferInput("images", [2], "BYTES")
        text.set_data_from_numpy(np.array([picture(1), b"this is text"], np.object_))
        with pytest.raises(InferenceServerException, match=error) as caught:
            client.infer(name, [text])
        assert caught.value.status() == status


def test_a_compressed_request_is_refused_in_words(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="Content-Encoding 'gzip' is not read"):
        client.infer("digits", [pixels_input(1)], request_compression_algorithm="gzip")


def test_what_tritons_image_client_asks_before_it_sends_pictures(client: InferenceServerClient) -> None:
    """As its parse_model: one input of three sides beside the batch, in a known format, and one output of classes."""
    metadata, config = client.get_model_metadata("digits"), client.get_model_config("digits", "2")
    (tensor,), (described,) = metadata["inputs"], config["input"]
    assert (config["name"], config["max_batch_size"]) == ("digits", 3)
    assert len(tensor["shape"]) == len(described["dims"]) + 1 == 4
    assert (described["format"], described["data_type"]) == ("FORMAT_NHWC", f"TYPE_{tensor['datatype']}")
    (output,) = config["output"]
    assert output == {"name": "scores", "data_type": "TYPE_FP32", "dims": [5]}
    with pytest.raises(InferenceServerException, match="letters"):
        client.get_model_config("letters")


def test_statistics_are_those_of_the_version(client: InferenceServerClient) -> None:
    client.infer("digits", [pictures_input(4, 0)])
    with pytest.raises(InferenceServerException):
        client.infer("digits", [InferInput("images", [0], "BYTES").set_data_from_numpy(np.array([], np.object_))])
    (found,) = client.get_inference_statistics("digits")["model_stats"]
    assert (found["name"], found["version"], found["inference_count"]) == ("digits", "1", 2)
    assert found["inference_stats"]["success"]["count"] == 1
    assert found["inference_stats"]["success"]["ns"] > 0
