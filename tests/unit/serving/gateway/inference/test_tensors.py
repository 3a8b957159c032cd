"""Tensors of the Open Inference Protocol: what was sent is what is read, and nothing malformed gets further."""

import base64
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headway_serving.core.errors import InvalidRequest, ServingError
from headway_serving.gateway.inference.protocol import read_inference_request
from headway_serving.gateway.inference.tensors import (
    InputTensor,
    OutputTensor,
    classification_tensor,
    images_of,
    pack_elements,
    score_tensor,
    unpack_elements,
)
from headway_serving.gateway.requests.errors import EmptyBody, TooManyImages

MANY = 64
SIDES = st.integers(1, 4)


@st.composite
def pixel_arrays(draw: st.DrawFn) -> NDArray[np.uint8]:
    shape = draw(st.tuples(SIDES, SIDES, SIDES, st.sampled_from([1, 3])))
    size = int(np.prod(shape))
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8).reshape(shape)


def tensor(datatype: str, shape: tuple[int, ...], data: Any = None, binary: bytes | None = None,
           content_type: str | None = None) -> InputTensor:  # fmt: skip
    return InputTensor(datatype, shape, content_type, data, None if binary is None else memoryview(binary))


@given(pixel_arrays())
def test_pixels_arrive_as_they_were_sent_in_every_form(pixels: NDArray[np.uint8]) -> None:
    forms = [
        tensor("UINT8", pixels.shape, pixels.ravel().tolist()),
        tensor("UINT8", pixels.shape, pixels.tolist()),
        tensor("UINT8", pixels.shape, binary=pixels.tobytes()),
    ]
    for form in forms:
        read = images_of(form, MANY)
        assert isinstance(read, np.ndarray)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, pixels)


PICTURES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5)


@given(PICTURES)
def test_pictures_arrive_as_they_were_sent_in_every_form(pictures: list[bytes]) -> None:
    texts = [base64.b64encode(picture).decode() for picture in pictures]
    count = len(pictures)
    forms = [
        tensor("BYTES", (count,), texts),
        tensor("BYTES", (count,), texts, content_type="base64"),
        tensor("BYTES", (count, 1), [[text] for text in texts]),
        tensor("BYTES", (count, 1), texts),
        tensor("BYTES", (count,), binary=pack_elements(pictures)),
        tensor("BYTES", (count, 1), binary=pack_elements([text.encode() for text in texts]), content_type="base64"),
    ]
    for form in forms:
        assert images_of(form, MANY) == pictures


@given(PICTURES, st.data())
def test_binary_elements_fill_their_data_exactly(elements: list[bytes], data: st.DataObject) -> None:
    packed = pack_elements(elements)
    assert unpack_elements(memoryview(packed), len(elements)) == elements
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(InvalidRequest, match=r"ends within element \d+ of"):
        unpack_elements(memoryview(packed[:cut]), len(elements))
    with pytest.raises(InvalidRequest, match="has 1 bytes more"):
        unpack_elements(memoryview(packed + b"x"), len(elements))


WHOLE = "must be whole numbers from 0 to 255"
NESTED = "flat or in lists nested as shape"
REFUSED: dict[str, tuple[InputTensor, type[ServingError], str]] = {
    "256": (tensor("UINT8", (1, 1, 1, 1), [256]), InvalidRequest, WHOLE),
    "negative": (tensor("UINT8", (1, 1, 1, 1), [-1]), InvalidRequest, WHOLE),
    "beyond 64 bits": (tensor("UINT8", (1, 1, 1, 1), [2**70]), InvalidRequest, WHOLE),
    "fraction": (tensor("UINT8", (1, 1, 1, 1), [0.5]), InvalidRequest, WHOLE),
    "not a number": (tensor("UINT8", (1, 1, 1, 1), [float("nan")]), InvalidRequest, WHOLE),
    "boolean": (tensor("UINT8", (1, 1, 1, 2), [True, 1]), InvalidRequest, WHOLE),
    "text": (tensor("UINT8", (1, 1, 1, 1), ["1"]), InvalidRequest, WHOLE),
    "no list": (tensor("UINT8", (1, 1, 1, 1), "1"), InvalidRequest, NESTED),
    "too few": (tensor("UINT8", (1, 1, 2, 1), [1]), InvalidRequest, NESTED),
    "ragged": (tensor("UINT8", (1, 2, 2, 1), [[[[1], [2]], [[3]]]]), InvalidRequest, NESTED),
    "half nested": (tensor("UINT8", (1, 2, 2, 1), [[1, 2, 3, 4]]), InvalidRequest, NESTED),
    "too few bytes": (tensor("UINT8", (1, 2, 2, 1), binary=b"123"), InvalidRequest, "3 bytes of data were sent; shape"),
    "enormous": (tensor("UINT8", (1, 2**62, 2**62, 3), [1]), InvalidRequest, NESTED),
    "three dimensions": (tensor("UINT8", (28, 28, 1), [0] * 784), InvalidRequest, "is not [N, height, width"),
    "no height": (tensor("UINT8", (1, 0, 28, 1), []), InvalidRequest, "is not [N, height, width"),
    "float pixels": (tensor("FP32", (1, 1, 1, 1), [0.5]), InvalidRequest, "datatype 'FP32' is not read; send UINT8"),
    "no shape": (tensor("BYTES", (), []), InvalidRequest, "is not [N], one element"),
    "matrix of pictures": (tensor("BYTES", (1, 2), ["", ""]), InvalidRequest, "is not [N], one element"),
    "no pictures": (tensor("BYTES", (0,), []), EmptyBody, "first dimension is 0"),
    "no pixels": (tensor("UINT8", (0, 28, 28, 1), []), EmptyBody, "first dimension is 0"),
    "empty picture": (tensor("BYTES", (2,), ["AAAA", ""]), EmptyBody, "image 1 (counted from 0) is empty"),
    "too many pictures": (tensor("BYTES", (65,), ["AAAA"] * 65), TooManyImages, "65 pictures were sent; at most 64"),
    "too many pixels": (tensor("UINT8", (65, 1, 1, 1), [1] * 65), TooManyImages, "65 pictures were sent; at most 64"),
    "other count": (tensor("BYTES", (2,), ["AAAA"]), InvalidRequest, "a list of 2 texts in base64"),
    "no base64": (tensor("BYTES", (1,), ["not base64!"]), InvalidRequest, "data[0] is not base64"),
    "beyond ASCII": (tensor("BYTES", (1,), ["ü"]), InvalidRequest, "data[0] is not base64"),
    "number": (tensor("BYTES", (1,), [7]), InvalidRequest, "data[0]: a text is needed"),
    "other content type": (
        tensor("BYTES", (1,), ["AAAA"], content_type="image/png"), InvalidRequest, "'image/png' of BYTES is not read",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "kind", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_tensor_of_pictures_is_refused(sent: InputTensor, kind: type[ServingError], problem: str) -> None:
    with pytest.raises(kind) as caught:
        images_of(sent, MANY)
    assert type(caught.value) is kind
    assert problem in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "id": "42",
    "parameters": {"binary_data_output": False},
    "inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": ["AAAA"],
                "parameters": {"content_type": "base64"}}],
    "outputs": [{"name": "scores", "parameters": {"classification": 3, "binary_data": True}}],
}  # fmt: skip
PLACES = [
    ("id",), ("parameters",), ("parameters", "binary_data_output"), ("inputs",), ("inputs", 0), ("outputs",),
    ("outputs", 0), ("outputs", 0, "name"), ("outputs", 0, "parameters"), ("inputs", 0, "parameters", "content_type"),
    ("outputs", 0, "parameters", "binary_data"), ("outputs", 0, "parameters", "classification"),
    ("inputs", 0, "parameters", "binary_data_size"), ("inputs", 0, "parameters", "shared_memory_region"),
    *(("inputs", 0, key) for key in ("name", "datatype", "shape", "data", "parameters")),
]  # fmt: skip


@given(st.sampled_from(PLACES), JSON)
def test_any_json_in_any_place_is_read_or_refused(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(GOOD))
    target = document
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    # Anything but a ServingError would fail: it would be answered as a fault of ours.
    with contextlib.suppress(ServingError):
        images_of(read_inference_request(json.dumps(document).encode(), None).tensor, MANY)


def test_the_good_request_is_read_whole() -> None:
    request = read_inference_request(json.dumps(GOOD).encode(), None)
    assert (request.id, request.output.binary, request.output.classification) == ("42", True, 3)
    assert images_of(request.tensor, MANY) == [b"\0\0\0"]


SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]], np.float32)


def test_classes_are_told_best_first_with_score_index_and_label() -> None:
    told = classification_tensor(SCORES, ("cat", "a:b", "dog"), 2)
    assert (told.datatype, told.shape) == ("BYTES", (2, 2))
    assert told.as_json() == ["0.7:1:a:b", "0.2:2:dog", "0.5:0:cat", "0.5:2:dog"]
    assert unpack_elements(memoryview(told.as_binary()), 4) == [text.encode() for text in told.as_json()]


def test_more_classes_than_there_are_is_all_of_them() -> None:
    assert classification_tensor(SCORES, ("a", "b", "c"), 2**62).shape == (2, 3)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_a_told_score_is_the_score(values: list[float]) -> None:
    scores = np.array([values], np.float32)
    labels = [f"class {index}" for index in range(len(values))]
    for text in classification_tensor(scores, labels, len(values)).as_json():
        score, index, label = text.split(":")
        assert np.float32(score) == scores[0, int(index)]
        assert label == labels[int(index)]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_scores_leave_unchanged(values: list[float]) -> None:
    sent: OutputTensor = score_tensor(np.array([values], np.float32))
    assert (sent.datatype, sent.shape) == ("FP32", (1, len(values)))
    np.testing.assert_array_equal(np.array(sent.as_json(), np.float32), np.array(values, np.float32))
    np.testing.assert_array_equal(np.frombuffer(sent.as_binary(), "<f4"), np.array(values, np.float32))
