"""The gateway as a WSGI application, for servers other than its own: ``gunicorn headway_serving.gateway.wsgi:app``.

It is configured by the same ``HEADWAY_*`` variables, of which ``HEADWAY_HOST``, ``HEADWAY_PORT``,
``HEADWAY_DRAIN_SECONDS`` and ``HEADWAY_MAX_HELD_BYTES`` are the other server's matter. Importing composes it, as WSGI
servers expect. Raises ``InvalidSettings``, ``InvalidRoutes`` or ``InvalidTokens``.

One process with many threads: metrics, batches and admission are a process's own.
"""

import os

from headway_serving.gateway.composition import compose_application
from headway_serving.settings import GatewaySettings

app = compose_application(GatewaySettings.from_environment(os.environ))
