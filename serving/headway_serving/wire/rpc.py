"""TensorFlow Serving's methods by their paths on a gRPC channel."""

import json
from collections.abc import Mapping
from typing import Any

import grpc

from headway_serving.wire import messages_pb2 as messages

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# What is tried again within the call's deadline. A name may stand for several model servers, of which one restarts
# (UNAVAILABLE) or has not loaded a version yet (NOT_FOUND): round robin takes the next one. A single address has
# nobody else to ask for a version, so its NOT_FOUND is an answer.
_RETRY: Mapping[str, Any] = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 2,
}
_RETRIED_ON_ONE = ("UNAVAILABLE",)
_RETRIED_ON_MANY = ("UNAVAILABLE", "NOT_FOUND")

_CHANNEL_OPTIONS = (
    # Replies carry many rows of scores or a manifest with pictures: gRPC's own receive limit of 4 MB is too small.
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.max_send_message_length", 256 * 1024 * 1024),
    # A model server that restarts should be found again at once, not after gRPC's two minutes of back-off.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A host that vanished without a word is noticed while a call waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Names are looked up again this soon after a loss; new replicas are met when the servers bound a connection's age.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


def open_channel(target: str, library: Any = grpc) -> Any:
    """An insecure channel to ``target``; calls are spread over its addresses.

    ``target``: ``host:port``, ``dns:///host:port`` or ``ipv4:address:port,address:port``.

    ``library`` is ``grpc``, whose calls block, or ``grpc.aio`` for the event loop that calls this.
    """
    # A name, or a list of addresses: ipv4:A,B.
    codes = _RETRIED_ON_MANY if target.startswith("dns:") or "," in target else _RETRIED_ON_ONE
    service = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": {**_RETRY, "retryableStatusCodes": codes}}],
        # Retries stop while hardly any call succeeds: they would only add to the load of servers that cannot answer.
        # While one does, others may need them for as long as a replica is away or loads a version. The point matters:
        # gRPC reads 10 as 0.01.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 10.0},
    }
    return library.insecure_channel(target, options=(*_CHANNEL_OPTIONS, ("grpc.service_config", json.dumps(service))))


class ModelServerStub:
    """The calls the gateway makes. Each takes a request and ``timeout`` seconds, and raises ``grpc.RpcError``.

    On a channel of ``grpc.aio`` each gives an awaitable that does.
    """

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
