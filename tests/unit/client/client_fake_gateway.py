"""A real HTTP server on loopback that speaks Headway's contract without any model.

It "classifies" by size: the best label of a picture is `WIDTHxHEIGHT`, followed by fixed runners-up. It
decodes with Pillow, so what the client sends has to be a picture, and keeps every request for the tests.
"""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from PIL import Image

RUNNERS_UP = (("cat", 0.01), ("elephant", 0.0025))


@dataclass(frozen=True)
class Seen:
    """One request as it arrived: the images are encoded bytes; header names are lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    images: list[bytes]


@dataclass
class FakeGateway:
    """What is served (`models`: name to versions), and what has been asked."""

    url: str
    models: dict[str, list[int]]
    seen: list[Seen] = field(default_factory=list)
    broken: tuple[int, dict[str, str], bytes] | None = None  # answer every request with this instead


@contextmanager
def running(models: dict[str, list[int]]) -> Iterator[FakeGateway]:
    """The gateway, serving until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    gateway = FakeGateway(f"http://127.0.0.1:{server.server_port}", models)
    server.gateway = gateway  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Problem(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self) -> None:
        gateway: FakeGateway = self.server.gateway  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        images = _images(headers.get("content-type", ""), body) if self.command == "POST" else []
        seen = Seen(self.command, url.path, dict(parse_qsl(url.query)), headers, images)
        gateway.seen.append(seen)
        if gateway.broken:
            self._send(*gateway.broken)
            return
        try:
            self._send_json(200, "application/json", _route(gateway, seen))
        except _Problem as problem:
            document = {
                "type": "about:blank",
                "title": problem.code.replace("_", " "),
                "status": problem.status,
                "detail": problem.detail,
                "code": problem.code,
                "request_id": "req-problem",
            }
            self._send_json(problem.status, "application/problem+json", document)

    def _send_json(self, status: int, media_type: str, document: Any) -> None:
        self._send(status, {"Content-Type": media_type}, json.dumps(document).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _images(content_type: str, body: bytes) -> list[bytes]:
    if not content_type.startswith("multipart/form-data"):
        return [body]
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert {part.get_param("name", header="content-disposition") for part in parts} == {"image"}
    payloads = [part.get_payload(decode=True) for part in parts]
    return [payload for payload in payloads if isinstance(payload, bytes)]


def _route(gateway: FakeGateway, seen: Seen) -> dict[str, Any]:
    if seen.path == "/v1/models":
        return {"models": [_describe(name, versions) for name, versions in gateway.models.items()]}
    if seen.path.endswith(":feedback"):
        return _take_feedback(gateway, seen)
    name, _, pin = seen.path.removeprefix("/v1/models/").removesuffix(":classify").partition("/")
    if name not in gateway.models:
        raise _Problem(404, "model_not_found", f"There is no model {name!r}.")
    versions = gateway.models[name]
    if seen.method == "GET":
        return _describe(name, versions)
    version = int(pin.removeprefix("versions/")) if pin.startswith("versions/") else versions[-1]
    if version not in versions:
        raise _Problem(404, "version_not_found", f"{name} has no version {version}.")
    results = [{"index": i, "predictions": _look(image, seen.query)} for i, image in enumerate(seen.images)]
    request_id = seen.headers.get("x-request-id", "req-made-here")
    return {
        "model": name,
        "version": version,
        "arm": "stable",
        "results": results[::-1],  # the contract has an index so that the order need not be trusted
        "request_id": request_id,
        "a_field_of_the_future": True,
    }


def _take_feedback(gateway: FakeGateway, seen: Seen) -> dict[str, Any]:
    name = seen.path.removeprefix("/v1/models/").removesuffix(":feedback")
    if name not in gateway.models:
        raise _Problem(404, "model_not_found", f"There is no model {name!r}.")
    items = json.loads(seen.images[0])
    ignored = [
        {"position": i, "code": "version_not_found", "detail": f"There is no version {item['version']}."}
        for i, item in enumerate(items) if item["version"] not in gateway.models[name]
    ]  # fmt: skip
    known = [item for item in items if item["version"] in gateway.models[name]]
    right = sum(item["label"] == item["truth"] for item in known)
    return {
        "model": name, "counted": len(known), "right": right, "wrong": len(known) - right, "duplicates": 0,
        "ignored": ignored, "request_id": "req-made-here",
    }  # fmt: skip


def _describe(name: str, versions: list[int]) -> dict[str, Any]:
    labels = {"stable": versions[-1]}
    classes = ["28x28", *(label for label, _ in RUNNERS_UP)]
    return {"name": name, "stable": versions[-1], "versions": versions, "labels": labels, "classes": classes}


def _look(image: bytes, query: dict[str, str]) -> list[dict[str, Any]]:
    if not image:
        raise _Problem(400, "empty_body", "The body is empty; send the bytes of a picture.")
    try:
        width, height = Image.open(io.BytesIO(image)).size
    except OSError:
        raise _Problem(415, "unsupported_image", "This is no picture; send a PNG or JPEG.") from None
    scores = [(f"{width}x{height}", 0.9875), *RUNNERS_UP]
    least = float(query.get("min_confidence", 0))
    kept = [{"label": label, "score": score} for label, score in scores if score >= least]
    return kept[: int(query.get("top_k", 5))]
