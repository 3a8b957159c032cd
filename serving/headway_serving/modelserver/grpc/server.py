"""The gRPC server: where it listens, how, and for which services."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.grpc.tls import server_credentials
from headway_serving.modelserver.process.flag_table import ServerOptions

logger = logging.getLogger(__name__)

_INT32 = 1 << 31
_FAREWELL_SECONDS = 0.2
"""How long new calls are refused before the server closes."""

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)

AddService = Callable[[Any], None]
"""Registers one service with a ``grpc.Server``."""


class GrpcServer:
    """The server that ``options`` describe, with gRPC's own ``grpc.health.v1`` if they ask for it.

    Creating it reads every setting, so that a wrong one is reported before any model is loaded. Raises StatusError
    INVALID_ARGUMENT for a setting that cannot be used, NOT_FOUND if the TLS configuration cannot be read.
    """

    def __init__(self, options: ServerOptions) -> None:
        address = options.bind_address or "0.0.0.0"  # noqa: S104  # as TensorFlow Serving: every IPv4 address
        host = f"[{address}]" if ":" in address else address
        self._places = [f"{host}:{options.port}"] if options.port else []
        if options.grpc_socket_path:
            self._places.append(f"unix:{options.grpc_socket_path}")
        self._credentials = server_credentials(Path(options.ssl_config_file)) if options.ssl_config_file else None
        self._draining = _Draining()
        self._server = grpc.server(
            ThreadPoolExecutor(max(options.grpc_max_threads, 1), thread_name_prefix="grpc"),
            interceptors=[self._draining],
            options=[
                ("grpc.max_receive_message_length", _INT32 - 1),
                ("grpc.max_send_message_length", _INT32 - 1),
                # Two servers on one port would share the requests at random; the second must fail to start.
                ("grpc.so_reuseport", 0),
                *channel_arguments(options.grpc_channel_arguments),
            ],
        )
        if options.enable_grpc_healthcheck_service:
            _add_health_service(self._server)

    def start(self, services: Iterable[AddService]) -> None:
        """Listen and answer for ``services``; raises StatusError INVALID_ARGUMENT if a place is taken."""
        for add_service in services:
            add_service(self._server)
        for place in self._places:
            self._listen(place)
        self._server.start()
        for place in self._places:
            shown = place.replace("unix:", "UNIX socket ")
            logger.info("Running gRPC ModelServer at %s ...", shown)

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within ``grace_seconds``, cancel the rest, and return."""
        # gRPC itself cancels calls that arrive in the moment when it closes: they are refused before.
        self._draining.begun = True
        time.sleep(_FAREWELL_SECONDS)
        self._server.stop(max(grace_seconds, 0)).wait()

    def _listen(self, place: str) -> None:
        try:
            if self._credentials is None:
                self._server.add_insecure_port(place)
            else:
                self._server.add_secure_port(place, self._credentials)
        except RuntimeError as error:
            logger.error("Cannot listen on %s; is another process using it? (%s)", place, error)
            raise invalid_argument("Failed to BuildAndStart gRPC server") from error


class _Draining(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Answers every new call with UNAVAILABLE once it has ``begun``."""

    def __init__(self) -> None:
        self.begun = False
        self._refuse = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Choose what answers a call."""
        return self._refuse if self.begun else continuation(details)


def _refuse(_request: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the model server is shutting down")


def channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Return the ``key=value`` items of ``text``, separated by commas; a value that reads as an int32 is one.

    Raises StatusError INVALID_ARGUMENT for an item without ``=``.
    """
    arguments: list[tuple[str, int | str]] = []
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise invalid_argument(f"--grpc_channel_arguments must be key=value separated by commas; got {item}")
        number = int(value) if _WHOLE_NUMBER.fullmatch(value) else _INT32
        arguments.append((key, number if -_INT32 <= number < _INT32 else value))
    return arguments


def _add_health_service(server: Any) -> None:
    """Serve grpc.health.v1 with TensorFlow Serving's names. It tells of the process, not of its models."""
    servicer = health.HealthServicer()
    for service in ("", "ModelService", "PredictionService"):
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
