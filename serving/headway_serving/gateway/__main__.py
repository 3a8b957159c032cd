"""``headway-gateway``: the gateway under a production WSGI server, configured by ``HEADWAY_*`` variables."""

import os
import sys

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server

from headway_serving.adapters.route_file import InvalidRoutes, read_routes
from headway_serving.settings import GatewaySettings, InvalidSettings


# This process only watches the one that answers, so it imports nothing that answering needs.
def main() -> int:
    """Serve until SIGTERM or SIGINT; requests in flight then finish. Exit codes: 0, or 2 for unusable settings."""
    try:
        settings = GatewaySettings.from_environment(os.environ)
        # Told here, once: the process that answers would end with it and be started again and again.
        read_routes(settings.routes_file)
    except (InvalidSettings, InvalidRoutes) as error:
        sys.stderr.write(f"headway-gateway: {error}\n")
        return 2
    Server(
        "headway_serving.gateway.wsgi:create_from_environment",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        # Nothing here is HTTP/2 or a web socket; looking for them costs every request.
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


if __name__ == "__main__":
    sys.exit(main())
