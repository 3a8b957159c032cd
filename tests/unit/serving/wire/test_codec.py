"""Answers of a model server are read in every form it may send, and refused when they are not what was promised."""

import struct

import numpy as np
import pytest

from headway_serving.wire import codec
from headway_serving.wire import messages_pb2 as messages


def scores_answer(
    shape: tuple[int, ...] = (2, 2),
    *,
    content: bytes = b"",
    floats: tuple[float, ...] = (),
    name: str = "scores",
    dtype: int = codec.DT_FLOAT,
) -> messages.PredictResponse:
    response = messages.PredictResponse()
    tensor = response.outputs[name]
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = content
    tensor.float_val = struct.pack(f"<{len(floats)}f", *floats)
    return response


def manifest_answer(*texts: bytes, content: bytes = b"") -> messages.PredictResponse:
    response = messages.PredictResponse()
    tensor = response.outputs["manifest"]
    tensor.dtype = codec.DT_STRING
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.extend(texts)
    tensor.tensor_content = content
    return response


SCORES = np.array([[0.25, 0.75], [0.5, 0.125]], np.float32)


@pytest.mark.parametrize(
    "answer",
    [scores_answer(floats=(0.25, 0.75, 0.5, 0.125)), scores_answer(content=struct.pack("<4f", 0.25, 0.75, 0.5, 0.125))],
    ids=["float_val", "tensor_content"],
)
def test_scores_are_read_in_both_forms(answer: messages.PredictResponse) -> None:
    scores = codec.rows_of(answer, "serving_default", 2)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, SCORES)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (messages.PredictResponse(), "no output 'scores'; there are: none"),
        (scores_answer(name="probabilities"), "no output 'scores'; there are: probabilities"),
        (scores_answer(dtype=codec.DT_UINT8), "has dtype 4; 1 was expected"),
        (scores_answer((1, 4), floats=(1, 2, 3, 4)), r"shape \[1, 4\]; \[2, any\] was expected"),
        (scores_answer((4,), floats=(1, 2, 3, 4)), r"shape \[4\]"),
        (scores_answer((2, 2), floats=(1, 2, 3)), "12 bytes"),
        (scores_answer((2, -1), floats=(1, 2)), "8 bytes"),
        (scores_answer((2, 2**40)), "0 bytes"),
        (scores_answer(content=b"\0" * 12), "12 bytes"),
        (scores_answer(content=b"\0" * 15), "15 bytes"),
    ],
)
def test_scores_that_were_not_promised_are_refused(answer: messages.PredictResponse, what: str) -> None:
    with pytest.raises(codec.MalformedAnswer, match=what):
        codec.rows_of(answer, "serving_default", 2)


def test_features_are_read_and_sent_by_their_signatures() -> None:
    answer = scores_answer((2, 3), floats=(1, 2, 3, 4, 5, 6), name="features")
    features = codec.rows_of(answer, "features", 2)
    request = codec.rows_request("head", 4, "from_features", features)
    tensor = request.inputs["features"]
    assert (request.model_spec.signature_name, tensor.dtype) == ("from_features", codec.DT_FLOAT)
    assert struct.unpack("<6f", tensor.tensor_content) == (1, 2, 3, 4, 5, 6)


LONG = b"{" + b" " * 300 + b"}"
"""Longer than 127 bytes: its length takes two bytes."""


@pytest.mark.parametrize(
    "answer",
    [manifest_answer(LONG), manifest_answer(content=b"\xae\x02" + LONG)],
    ids=["string_val", "tensor_content"],
)
def test_a_manifest_is_read_in_both_forms(answer: messages.PredictResponse) -> None:
    assert codec.manifest_of(answer) == LONG


@pytest.mark.parametrize(
    "answer",
    [
        manifest_answer(),
        manifest_answer(content=b"\x05{}"),
        manifest_answer(content=b"\x01{}"),
        manifest_answer(content=b"\x80"),
        manifest_answer(content=b"\xff" * 40),
    ],
    ids=["empty", "too short", "too long", "half a length", "endless length"],
)
def test_a_manifest_that_is_not_one_text_is_refused(answer: messages.PredictResponse) -> None:
    with pytest.raises(codec.MalformedAnswer, match="manifest"):
        codec.manifest_of(answer)
