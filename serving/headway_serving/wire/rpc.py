"""TensorFlow Serving's methods by their paths on a gRPC channel."""

from typing import Any

import grpc

from headway_serving.wire import messages_pb2 as messages

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# Replies carry many rows of scores or a manifest with pictures: gRPC's own receive limit of 4 MB is too small.
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.max_send_message_length", 256 * 1024 * 1024),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # A model server that restarts should be found again at once, not after gRPC's two minutes of back-off.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def open_channel(target: str) -> Any:
    """An insecure channel to ``target`` (``host:port`` or ``dns:///host:port``); calls spread over its addresses."""
    return grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)


class ModelServerStub:
    """The calls the gateway makes. Each takes a request and ``timeout`` seconds, and raises ``grpc.RpcError``."""

    def __init__(self, channel: Any) -> None:
        self.predict = channel.unary_unary(
            PREDICT,
            request_serializer=messages.PredictRequest.SerializeToString,
            response_deserializer=messages.PredictResponse.FromString,
        )
        self.get_model_status = channel.unary_unary(
            GET_MODEL_STATUS,
            request_serializer=messages.GetModelStatusRequest.SerializeToString,
            response_deserializer=messages.GetModelStatusResponse.FromString,
        )
