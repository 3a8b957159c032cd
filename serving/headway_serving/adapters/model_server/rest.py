"""The model server's REST port: ``:predict`` requests passed on as they are."""

import ssl
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from headway_serving.core.errors import AnswerTooLarge, DeadlineExceeded, ModelUnavailable
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

    def __init__(self, url: str, connections: int, max_answer_bytes: int = 2**31) -> None:
        """``url``: ``http://HOST:PORT``; ``connections``: how many requests are worked on at the same time.

        ``max_answer_bytes``: of one answer.
        """
        self._max_answer_bytes = max_answer_bytes
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

        Every answer of the model server is returned, errors included. Raises ``DeadlineExceeded``,
        ``ModelUnavailable`` when nothing answers, or ``AnswerTooLarge``.
        """
        return self._ask("POST", f"{_path(route)}:predict", timeout, body)

    def metadata(self, route: Route, timeout: float) -> RestAnswer:
        """What the route's version says of its signatures. Raises as :meth:`predict`."""
        return self._ask("GET", f"{_path(route)}/metadata", timeout)

    def status(self, route: Route, timeout: float) -> RestAnswer:
        """What state the route's version is in. Raises as :meth:`predict`."""
        return self._ask("GET", _path(route), timeout)

    def _ask(self, method: str, path: str, timeout: float, body: bytes | None = None) -> RestAnswer:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            # The timeout holds for each step (connect, send, wait), and a server that hangs does so in one of them.
            with self._client.stream(method, path, content=body, headers=headers, timeout=timeout) as response:
                content = self._content(response)
        except httpx.TimeoutException as error:
            raise DeadlineExceeded("the model server did not answer within the request's time") from error
        except httpx.TransportError as error:
            raise ModelUnavailable("the model server cannot answer now; try again in a moment") from error
        content_type = response.headers.get("Content-Type", "application/json")
        return RestAnswer(response.status_code, content_type, content)

    def _content(self, response: httpx.Response) -> bytes:
        parts, size = [], 0
        for part in response.iter_raw():
            size += len(part)
            if size > self._max_answer_bytes:
                raise AnswerTooLarge(
                    f"the model server's answer has more than {self._max_answer_bytes:,} bytes; send fewer rows"
                )
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _path(route: Route) -> str:
    return f"/v1/models/{quote(route.model, safe='')}/versions/{route.version}"
