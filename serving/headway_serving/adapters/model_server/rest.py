"""The model server's REST port: ``:predict`` requests passed on as they are."""

import ssl
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from headway_serving.core.errors import DeadlineExceeded, ModelUnavailable
from headway_serving.core.routing import Route

_KEEP_ALIVE_SECONDS = 20.0
"""How long an idle connection is kept; less than the 50 s after which model servers close theirs."""


@dataclass(frozen=True)
class RestAnswer:
    """What the model server answered: status, ``Content-Type`` and body."""

    status: int
    content_type: str
    body: bytes


class TfServingRest:
    """One model server's REST API, over connections that are used again. Safe for use by many threads."""

    def __init__(self, url: str, connections: int) -> None:
        """``url``: ``http://HOST:PORT``; ``connections``: how many requests are worked on at the same time."""
        self._client = httpx.Client(
            base_url=url,
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=_KEEP_ALIVE_SECONDS,
            ),
            # A proxy of the environment is for the world outside, not for the model server beside us.
            trust_env=False,
            # Plain HTTP: no certificates need to be loaded.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers={"Accept-Encoding": "identity"},
        )

    def predict(self, route: Route, body: bytes, timeout: float) -> RestAnswer:
        """Pass one ``:predict`` body on to the route's version, for ``timeout`` seconds.

        Every answer of the model server is returned, errors included. Raises ``DeadlineExceeded``, or
        ``ModelUnavailable`` when nothing answers.
        """
        path = f"/v1/models/{quote(route.model, safe='')}/versions/{route.version}:predict"
        try:
            # The timeout holds for each step (connect, send, wait), and a server that hangs does so in one of them.
            response = self._client.post(
                path, content=body, headers={"Content-Type": "application/json"}, timeout=timeout
            )
        except httpx.TimeoutException as error:
            raise DeadlineExceeded("the model server did not answer within the request's time") from error
        except httpx.TransportError as error:
            raise ModelUnavailable("the model server cannot answer now; try again in a moment") from error
        content_type = response.headers.get("Content-Type", "application/json")
        return RestAnswer(response.status_code, content_type, response.content)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
