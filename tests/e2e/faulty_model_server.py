"""Stands before a real model server, passes every call on, and spoils predictions by version when told to."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from headway_serving.wire import messages_pb2 as messages
from headway_serving.wire.rpc import PREDICT


@dataclass
class Faults:
    """What happens to predictions, by version.

    ``fail_every``: each so-manieth call ends with INTERNAL. ``delays``: seconds more for each call.
    """

    fail_every: dict[int, int] = field(default_factory=dict)
    delays: dict[int, float] = field(default_factory=dict)


class _PassOn(grpc.GenericRpcHandler):
    def __init__(self, target: str, faults: Faults) -> None:
        self._channel = grpc.insecure_channel(target)
        self._faults = faults
        self._calls = itertools.count(1)

    def service(self, details: Any) -> Any:
        method = self._channel.unary_unary(details.method)

        def call(request: bytes, context: Any) -> bytes:
            if details.method == PREDICT:
                self._spoil(request, context)
            try:
                answer: bytes = method(request, timeout=context.time_remaining())
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            return answer

        return grpc.unary_unary_rpc_method_handler(call)

    def _spoil(self, request: bytes, context: Any) -> None:
        spec = messages.PredictRequest.FromString(request).model_spec
        if spec.signature_name != "serving_default":
            return
        time.sleep(self._faults.delays.get(spec.version.value, 0.0))
        fail_every = self._faults.fail_every.get(spec.version.value)
        if fail_every is not None and next(self._calls) % fail_every == 0:
            context.abort(grpc.StatusCode.INTERNAL, "spoiled by the test")


@contextmanager
def faulty_model_server(target: str, faults: Faults) -> Iterator[str]:
    """Give the address of a server that passes calls on to ``target``."""
    server = grpc.server(ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers((_PassOn(target, faults),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
