"""``headway-gateway``: the gateway under a production WSGI server, configured by ``HEADWAY_*`` variables."""

import os
import socket
import sys

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server

from headway_serving.adapters.route_file import InvalidRoutes, read_routes
from headway_serving.adapters.token_file import InvalidTokens, read_tokens
from headway_serving.settings import GatewaySettings, InvalidSettings


# This process only watches the one that answers, so it imports nothing that answering needs.
def main() -> int:
    """Serve until SIGTERM or SIGINT; requests in flight then finish. Exit codes: 0, or 2 for unusable settings."""
    try:
        settings = GatewaySettings.from_environment(os.environ)
        # Told here, once: the process that answers would end with it and be started again and again.
        read_routes(settings.routes_file)
        if settings.tokens_file is not None:
            read_tokens(settings.tokens_file)
        _check_ports(settings)
    except (InvalidSettings, InvalidRoutes, InvalidTokens) as error:
        sys.stderr.write(f"headway-gateway: {error}\n")
        return 2
    Server(
        "headway_serving.gateway.wsgi:create_from_environment",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        # HTTP/2 would let one connection hold hundreds of requests, past the limits that count connections. Nothing
        # here is a web socket, and looking for either costs every request.
        http=HTTPModes.http1,
        websockets=False,
        # One process: the route table, the metrics and later the batching queue have one owner; pods are the scale.
        workers=1,
        blocking_threads=settings.threads,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.drain_seconds,
        # Granian's warnings judge the thread count by the cores; ours wait for the model server, not for a core.
        log_level=LogLevels.error,
    ).serve()
    return 0


def _check_ports(settings: GatewaySettings) -> None:
    """Raises :class:`InvalidSettings` for a port that cannot be had: what the server says of it is hard to read."""
    for name, port in (("HEADWAY_PORT", settings.port), ("HEADWAY_ADMIN_PORT", settings.admin_port)):
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise InvalidSettings(
                    f"{name}={port}: {settings.host}:{port} cannot be used: {error.strerror}"
                ) from error


if __name__ == "__main__":
    sys.exit(main())
