"""``headway-gateway``: the gateway behind its HTTP server, configured by ``HEADWAY_*`` variables."""

import ctypes
import gc
import logging
import os
import socket
import sys

from headway_serving.adapters.files.routes import InvalidRoutes
from headway_serving.adapters.files.tokens import InvalidTokens
from headway_serving.adapters.logs.setup import configure, wants_json
from headway_serving.gateway.composition import compose_server
from headway_serving.settings import GatewaySettings, InvalidSettings

_log = logging.getLogger("headway.gateway")

_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 4 * 1024 * 1024


def main() -> int:
    """Serve until SIGTERM or SIGINT; requests in flight then finish. Exit codes: 0, or 2 for unusable settings."""
    try:
        settings = GatewaySettings.from_environment(os.environ)
        _check_ports(settings)
        server = compose_server(settings)
    except (InvalidSettings, InvalidRoutes, InvalidTokens) as error:
        if wants_json(os.environ):
            configure("gateway", as_json=True, level="info")
            _log.critical("%s", error)
        else:
            sys.stderr.write(f"headway-gateway: {error}\n")
        return 2
    _spare_the_collector()
    _return_large_blocks()
    server.run()
    return 0


def _spare_the_collector() -> None:
    """Keep Python's cycle collector from what was made at the start, and from looking at every few requests.

    A collection of everything held all requests for tens of milliseconds; none of them leaves cycles of any size.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _return_large_blocks() -> None:
    """Have the C library give memory of decoded pictures back to the system as soon as it is free.

    By itself glibc keeps blocks of up to 32 MB for each thread once it has seen a larger one: 160 MB after large
    pictures. Other C libraries have no such function and no such habit. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


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
