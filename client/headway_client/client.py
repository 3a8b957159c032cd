"""The blocking client: sends what `protocol` builds and hands back what it parses."""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from headway_client import protocol
from headway_client.errors import TRANSLATIONS, ModelRequired, UnsupportedInput, translate
from headway_client.images import ImageInput, encoded_image
from headway_client.pieces import classify_in_pieces
from headway_client.protocol import Options
from headway_client.results import Classification, Feedback, FeedbackTally, ModelInfo

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT = 10.0  # seconds


class Client:
    """Classifies pictures through a Headway gateway. Keeps connections open; safe to share between threads.

    base_url is the gateway's (`http://HOST:PORT`, a path prefix is kept). timeout, in seconds, is what the
    gateway is given to answer and the longest silence accepted on the connection. transport replaces httpx's
    (for tests); headers are sent with every request. Use it as a context manager, or call `close`.

    Methods raise errors of the tree in `headway_client.errors`; the constructor raises UnsupportedInput.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = _checked_url(base_url)
        self._timeout = protocol.checked_timeout(timeout)
        self._http = httpx.Client(base_url=self._url, transport=transport, headers=headers)
        self._only_model: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._http.close()

    def classify(
        self,
        image: ImageInput,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        min_confidence: float | Literal["model"] | None = None,
        routing_key: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Classification:
        """Classify one image: a path, encoded bytes, a binary file, a Pillow image or a numpy array (uint8).

        model may be left out if the gateway serves exactly one (else ModelRequired names them). version or
        label pins who answers; without them the gateway's routes choose, always alike for the same
        routing_key. top_k (1 or more) and min_confidence (0..1, or "model" for the version's own threshold) trim the
        predictions. timeout, in seconds, replaces the client's. An unreadable file raises OSError.
        """
        options = Options(version, label, top_k, min_confidence, routing_key, request_id)
        return self._classify([encoded_image(image)], model, options, timeout, multipart=False)

    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        min_confidence: float | Literal["model"] | None = None,
        routing_key: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Classification:
        """Classify several images; `results[i]` is the i-th's. Arguments as for `classify`, timeout for each request.

        Many go in several requests, of at most 64 images and 24 MB. One version answers for all of them. An image that
        cannot be read has its problem in its place; the others are answered.
        """
        if isinstance(images, str | bytes | bytearray | memoryview):
            raise UnsupportedInput("classify_many takes several images, such as a list; use classify for one")
        options = Options(version, label, top_k, min_confidence, routing_key, request_id)
        encoded = [encoded_image(image) for image in images]
        return classify_in_pieces(
            encoded, options, lambda piece, asked: self._classify(piece, model, asked, timeout, multipart=True)
        )

    def feedback(self, items: Feedback | Iterable[Feedback], *, timeout: float | None = None) -> FeedbackTally:
        """Tell the truth about answers of one model, 1 to 1,000 at once: `client.feedback(answer.feedback("7"))`.

        Any gateway takes it, not only the one that answered. What was told before counts once, as far as that gateway
        remembers; the tally says what was ignored and why. timeout, in seconds, replaces the client's.
        """
        seconds = self._timeout if timeout is None else protocol.checked_timeout(timeout)
        sent = [items] if isinstance(items, Feedback) else list(items)
        return protocol.parse_feedback(self._send(protocol.build_feedback(sent), seconds))

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model the gateway serves."""
        return protocol.parse_models(self._send(protocol.build_models(), self._timeout))

    def model(self, name: str | None = None) -> ModelInfo:
        """One served model; the only one if no name is given. Raises NotFound or ModelRequired."""
        if name is not None:
            return protocol.parse_model(self._send(protocol.build_model(name), self._timeout))
        models = self.models()
        if len(models) != 1:
            raise ModelRequired([model.name for model in models])
        return models[0]

    def _the_only_model(self) -> str:
        # Asked once, not per request: it would double the round trips.
        if self._only_model is None:
            self._only_model = self.model().name
        return self._only_model

    def _classify(
        self,
        images: Sequence[bytes],
        model: str | None,
        options: Options,
        timeout: float | None,
        *,
        multipart: bool,
    ) -> Classification:
        seconds = self._timeout if timeout is None else protocol.checked_timeout(timeout)
        name = self._the_only_model() if model is None else model
        request = protocol.build_classify(images, name, options, timeout=seconds, multipart=multipart)
        return protocol.parse_classification(self._send(request, seconds), len(images))

    def _send(self, request: protocol.Request, timeout: float) -> Any:
        files = [("image", (f"image-{i}", part, "application/octet-stream")) for i, part in enumerate(request.parts)]
        try:
            response = self._http.request(
                request.method,
                request.path,
                params=request.params,
                headers=request.headers,
                content=request.content or None,
                files=files or None,
                timeout=timeout,
            )
        except tuple(TRANSLATIONS) as error:
            raise translate(error, self._url) from error
        return protocol.parse_json(response.status_code, response.headers, response.content)


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise translate(error, repr(base_url)) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise UnsupportedInput(f"{base_url!r} is not a gateway's URL; write http://HOST:PORT")
    return str(url)
