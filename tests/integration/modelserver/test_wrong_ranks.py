"""Tensors of every rank into operations that would end the process: each is answered or refused."""

from collections.abc import Iterator

import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.model_server_process import ModelServerProcess, refusal, write_spec

RANKS = tiny_models.CONVOLVED_RANKS


@pytest.fixture(scope="module", params=["off", "bfloat16"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    """A server of the convolutions: with variables, and with variables made constants."""
    root = tmp_path_factory.mktemp("ranks")
    tiny_models.save_convolutions(root / "1")
    with ModelServerProcess(f"--model_base_path={root}", f"--mixed_precision={request.param}") as running:
        yield running.wait_until_ready()


@pytest.mark.parametrize("signature", RANKS)
def test_a_wrong_rank_is_an_invalid_argument_whatever_the_signature_says(
    server: ModelServerProcess, signature: str
) -> None:
    right = RANKS[signature]
    for rank in (*range(7), 9, 70, 300):
        x = {"x": np.ones([1] * min(rank, 9), np.float32)}
        if rank in (70, 300):
            assert _refused_of_rank(server, signature, rank).startswith("INVALID_ARGUMENT: ")
        elif rank == right:
            assert server.stubs.predict("default", x, signature=signature)["y"].shape == (1,) * rank
        else:
            refused = refusal(server.stubs.predict, "default", x, signature=signature)
            assert refused.startswith("INVALID_ARGUMENT: ")
            assert "headway" not in refused


def test_the_text_is_that_of_the_kernel_without_onednn(server: ModelServerProcess) -> None:
    def refused(signature: str) -> str:
        return refusal(server.stubs.predict, "default", {"x": np.ones([1, 2], np.float32)}, signature=signature)

    assert refused("conv2d") == "INVALID_ARGUMENT: convolution input must be 4-dimensional: [1,2]"
    assert refused("nested") == "INVALID_ARGUMENT: convolution input must be 4-dimensional: [1,2]"
    assert refused("depthwise") == "INVALID_ARGUMENT: input must be 4-dimensional[1,2]"
    assert refused("conv3d") == "INVALID_ARGUMENT: input must be 5-dimensional"
    assert refused("max_pool_3d") == "INVALID_ARGUMENT: tensor_in must be 5-dimensional"


@pytest.mark.parametrize("signature", ["sizes", "transposed_sizes"])
def test_sizes_that_are_no_vector_are_an_invalid_argument(server: ModelServerProcess, signature: str) -> None:
    for shape in ([], [1, 4], [1] * 5):
        ones = {"x": np.ones(shape, np.float32)}
        assert refusal(server.stubs.predict, "default", ones, signature=signature).startswith("INVALID_ARGUMENT: ")
    assert server.stubs.predict("default", {"x": np.ones(4, np.float32)}, signature=signature)["y"].shape == (1,) * 4


def test_a_scalar_has_no_channels_to_be_quantized_by(server: ModelServerProcess) -> None:
    def quantized(*shape: int) -> tuple[int, ...]:
        x = {"x": np.ones(shape, np.float32)}
        return tuple(server.stubs.predict("default", x, signature="quantized")["y"].shape)

    assert refusal(quantized).startswith("INVALID_ARGUMENT: ")
    for shape in ((1,), (3, 1), (2, 3, 4, 1)):
        assert quantized(*shape) == shape


@pytest.mark.parametrize("shape", [[0, 1 << 62, 1 << 62], [1 << 62, 0], [0, -1]])
def test_a_huge_size_beside_a_zero_is_an_invalid_argument(server: ModelServerProcess, shape: list[int]) -> None:
    refused = refusal(server.stubs.prediction.Predict, _request("conv2d", shape))
    assert refused == "INVALID_ARGUMENT: tensor parsing error: x"


def _refused_of_rank(server: ModelServerProcess, signature: str, rank: int) -> str:
    return refusal(server.stubs.prediction.Predict, _request(signature, [1] * rank))


def _request(signature: str, shape: list[int]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    write_spec(request.model_spec, "default", signature=signature)
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return request
