"""Arrays survive the way through TensorProto, in both forms."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from headway_serving.modelserver.apis.tensor_codec import TensorFormatError, decode, encode

DTYPES = [
    *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.complex64, np.complex128, np.bool_),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
]


def tensor_proto() -> Any:
    return predict_pb2.PredictRequest().inputs["x"]


@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "content"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_numbers_come_back_as_they_went(dtype: Any, shape: Any, as_content: Any) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) * 37 % 120).astype(dtype).reshape(shape)
    proto = tensor_proto()
    encode(array, proto, as_content=as_content)
    read = decode(proto)
    assert read.dtype == array.dtype
    assert read.shape == shape
    assert np.array_equal(read, array)


@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "content"])
def test_strings_come_back_as_they_went(as_content: Any) -> None:
    array = np.array([[b"", b"\x00"], [b"x" * 300, "é".encode()]], object)
    proto = tensor_proto()
    encode(array, proto, as_content=as_content)
    assert decode(proto).tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128], ids=lambda d: d.__name__)
def test_many_numbers_are_the_same_message_as_few_at_a_time(dtype: Any) -> None:
    array = (np.arange(3000) / 7 - 200).astype(dtype).reshape(30, 100)
    whole, expected = tensor_proto(), tensor_proto()
    encode(array, whole, as_content=False)
    for row in array:
        part = tensor_proto()
        encode(row[:50], part, as_content=False)
        encode(row[50:], part, as_content=False)
        del part.tensor_shape.dim[:]
        expected.MergeFrom(part)
    expected.tensor_shape.CopyFrom(whole.tensor_shape)
    assert whole.SerializeToString() == expected.SerializeToString()


def test_a_view_with_strides_is_written_in_its_own_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    proto = tensor_proto()
    encode(array, proto, as_content=False)
    assert list(proto.float_val) == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("dtype", [1, 7], ids=["float", "string"])
def test_a_few_bytes_that_claim_a_huge_tensor_are_not_expanded(dtype: Any) -> None:
    proto = tensor_proto()
    proto.dtype = dtype
    for _ in range(4):
        proto.tensor_shape.dim.add(size=2**31)
    with pytest.raises(TensorFormatError):
        decode(proto)


@pytest.mark.parametrize(
    "content", [b"\x80" * 10 + b"\x00", b"\xff" * 100, b"\x80", b"\x05abc", b"\x01abc"],
    ids=["over 64 bits", "no end", "cut short", "too few bytes", "too many bytes"],
)  # fmt: skip
def test_packed_strings_that_are_none_are_refused(content: Any) -> None:
    """A length has 64 bits at most: a long run of high bytes must not be read into an ever larger number."""
    proto = tensor_proto()
    proto.dtype = 7
    proto.tensor_shape.dim.add(size=1)
    proto.tensor_content = content
    with pytest.raises(TensorFormatError):
        decode(proto)


def test_an_array_that_tensorflow_does_not_know_is_refused() -> None:
    with pytest.raises(TensorFormatError):
        encode(np.array(["2024-01-01"], "datetime64[D]"), tensor_proto(), as_content=False)
