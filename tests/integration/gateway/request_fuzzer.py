"""Requests that no well-meaning client sends, made from a seed: bodies, headers, paths, and what is no HTTP at all."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from werkzeug.test import EnvironBuilder

from tests.integration.gateway.gateway_under_test import as_json, as_parts

TYPES = ["image/png", "image/jpeg", "application/octet-stream", "image/svg+xml", "image/\xff"]
WRONG_TYPES = [
    "", "text/plain", "text/html; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 300, "multipart/mixed; boundary=x",
    "application/json; charset=utf-7", "application/json;" * 20, "image", "/", ";;;", "*/*", "application/protobuf",
]  # fmt: skip
HEADERS = [
    "X-Request-Id", "X-Routing-Key", "X-Request-Timeout-Ms", "traceparent", "Authorization", "Host", "Cookie", "Accept",
    "Content-Encoding", "Expect", "Range", "X-Forwarded-For", "X-HTTP-Method-Override", "Upgrade", "Forwarded",
    "Content_Length", "Transfer_Encoding", "X_Request_Id", "Connection",
]  # fmt: skip
QUERIES = ["", "top_k=3", "top_k=-1", "top_k=%00", "min_confidence=nan", "min_confidence=0.5&min_confidence=x", "&&==&",
           "model=digits&model=digits", "model=", "%ff%fe", "a" * 2000]  # fmt: skip
PATHS = [
    "/v1/models/digits:classify", "/v1/models/digits/versions/2:classify", "/v1/models/digits/labels/old:classify",
    "/v1/classify?model=digits", "/v1/models", "/v1/models/digits", "/readyz", "/metrics", "/openapi.json", "/docs",
]  # fmt: skip


@dataclass(frozen=True)
class FuzzedRequest:
    """``data``: the bytes to send. ``framed``: they are one request of HTTP whose answer can be waited for."""

    kind: str
    data: bytes
    framed: bool = True


class RequestFuzzer:
    """Makes requests around good ``pictures``; the same seed makes the same requests."""

    def __init__(self, pictures: Sequence[bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self._pictures = pictures
        forms = [as_parts(*pictures[:3]), as_parts(pictures[0])]
        documents = [as_json(*pictures[:3]), as_json(pictures[0])]
        self._forms = [_encoded(**form) for form in forms]
        self._documents = [_encoded(**form)[1] for form in documents]
        self._kinds: list[tuple[int, Callable[[], FuzzedRequest]]] = [
            (35, self.mutated_picture), (10, self.random_bytes), (15, self.mutated_form), (15, self.mutated_json),
            (10, self.wrong_type), (10, self.abused_headers), (5, self.no_http), (5, self.upgrade),
            (5, self.half_closed), (5, self.broken_framing),
        ]  # fmt: skip

    def requests(self, count: int) -> Iterator[FuzzedRequest]:
        weights = [weight for weight, _ in self._kinds]
        for _ in range(count):
            yield self._random.choices(self._kinds, weights)[0][1]()

    def mutated_picture(self) -> FuzzedRequest:
        body = self._mutated(self._random.choice(self._pictures))
        return FuzzedRequest("mutated picture", self._post(self._random.choice(TYPES), body))

    def random_bytes(self) -> FuzzedRequest:
        body = self._random.randbytes(self._random.choice([0, 1, 10, 300, 5000]))
        return FuzzedRequest("random bytes", self._post(self._random.choice([*TYPES, "application/json"]), body))

    def mutated_form(self) -> FuzzedRequest:
        kind, body = self._random.choice(self._forms)
        return FuzzedRequest("mutated form", self._post(kind, self._mutated(body)))

    def mutated_json(self) -> FuzzedRequest:
        if self._random.random() < 0.5:
            body = self._mutated(self._random.choice(self._documents))
        else:
            body = json.dumps({"images": self._value(0)}).encode()
        return FuzzedRequest("mutated JSON", self._post("application/json", body))

    def wrong_type(self) -> FuzzedRequest:
        body = self._random.choice([*self._pictures, *self._documents, b"", *(body for _, body in self._forms)])
        return FuzzedRequest("wrong content type", self._post(self._random.choice(WRONG_TYPES), body))

    def abused_headers(self) -> FuzzedRequest:
        lines = "".join(f"{self._random.choice(HEADERS)}: {self._header_text()}\r\n"
                        for _ in range(self._random.randint(1, 8)))  # fmt: skip
        method = self._random.choice(["POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
        path = self._random.choice([self._random.choice(PATHS), self._path()])
        body = self._random.choice(self._pictures)
        data = _request(method, path, f"Content-Type: image/png\r\n{lines}", body)
        zeros = b"0" * self._random.choice([0, 0, 0, 1, 20, 5000])
        return FuzzedRequest("header abuse", data.replace(b"Content-Length: ", b"Content-Length: " + zeros))

    def no_http(self) -> FuzzedRequest:
        """A request with its head damaged: what its answer is, if there is one, depends on where."""
        data = bytearray(self._post("image/png", self._random.choice(self._pictures)))
        head = data.index(b"\r\n\r\n") + 4
        for _ in range(self._random.randint(1, 4)):
            start = self._random.randrange(head)
            piece = self._random.choice([b"\0", b"\r", b"\n", b"\r\n\r\n", b" ", b":", b"\xff", b"9" * 30, b"x" * 5000])
            data[start : start + self._random.choice([0, 1, 8])] = piece
        return FuzzedRequest("no HTTP", bytes(data), framed=False)

    def upgrade(self) -> FuzzedRequest:
        """As clients ask for HTTP/2 or a WebSocket; it is ignored."""
        kind = self._random.choice(["h2c", "websocket", "TLS/1.3", "h2c, websocket"])
        data = self._post("image/png", self._random.choice(self._pictures))
        lines = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {kind}\r\nHTTP2-Settings: AAMAAABk\r\n"
        return FuzzedRequest("upgrade", data.replace(b"Host: x\r\n", b"Host: x\r\n" + lines.encode()))

    def half_closed(self) -> FuzzedRequest:
        """A whole request, or some of one, and the end of the client's side."""
        data = self._post("image/png", self._random.choice(self._pictures))
        if self._random.random() < 0.5:
            data = data[: self._random.randrange(1, len(data))]
        return FuzzedRequest("half-closed", data, framed=False)

    def broken_framing(self) -> FuzzedRequest:
        """Chunks as they should be, and as they should not."""
        picture = self._random.choice(self._pictures)
        cut = self._random.randrange(len(picture))
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (picture[:cut], picture[cut:]) if piece]
        trailers = b"X-Trailer: a\r\n" * self._random.choice([0, 0, 1, 1000])
        chunks = bytearray(b"".join(pieces) + b"0\r\n" + trailers + b"\r\n")
        for _ in range(self._random.choice([0, 1, 3])):
            start = self._random.randrange(len(chunks))
            wrong = self._random.choice([b"", b"z", b"-1", b"\n", b"ffffffffffffffff"])
            chunks[start : start + self._random.choice([0, 1, 8])] = wrong
        coding = self._random.choice(["chunked", "chunked", "xchunked", "gzip, chunked", "chunked, chunked"])
        head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: {coding}\r\n\r\n"
        return FuzzedRequest("broken framing", head.encode() + bytes(chunks), framed=False)

    def _post(self, content_type: str, body: bytes) -> bytes:
        path, query = self._random.choice(PATHS[:4]), self._random.choice(QUERIES)
        target = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
        return _request("POST", target, f"Content-Type: {content_type}\r\n" if content_type else "", body)

    def _mutated(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._random.choice([0, 1, 1, 2, 5, 20])):
            start = self._random.randint(0, len(changed))
            length = self._random.choice([0, 1, 1, 4, 100, 10_000])
            changed[start : start + length] = self._random.randbytes(self._random.choice([0, 1, 4, 16]))
        return bytes(changed)

    def _value(self, depth: int) -> object:
        """Some JSON, at times of the form that is asked for."""
        choice = self._random.randrange(9 if depth < 4 else 6)
        plain: list[object] = [None, True, 10**30, 1e308, "\ud800", "AAAA" * self._random.randrange(50)]
        if choice < len(plain):
            return plain[choice]
        if choice == len(plain):
            return {"b64": self._value(depth + 1), "url": "http://127.0.0.1:1/x.png"}
        values = [self._value(depth + 1) for _ in range(self._random.randrange(6))]
        return values if choice == 7 else {str(index): value for index, value in enumerate(values)}

    def _header_text(self) -> str:
        length = self._random.choice([0, 1, 20, 200, 4000])
        alphabet = [chr(code) for code in (*range(32, 127), *range(128, 256), 9)]
        text = "".join(self._random.choices(alphabet, k=length))
        return self._random.choice([text, "1", "0", "-1", "99999999999999999999", "gzip", "a,b"])

    def _path(self) -> str:
        pieces = ["v1", "models", "digits", "..", ".", "", "%2e%2e", "%00", "%0d%0aX:%20y", "digits:classify", ":",
                  "%f0%9f", "a" * 500, "%e2%80%a8", "versions", "9" * 30]  # fmt: skip
        return "/" + "/".join(self._random.choices(pieces, k=self._random.randint(0, 6)))


def _request(method: str, target: str, headers: str, body: bytes) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def _encoded(**form: object) -> tuple[str, bytes]:
    request = EnvironBuilder(method="POST", **form).get_request()  # type: ignore[arg-type]  # arguments of a test client
    return request.content_type or "", request.get_data()
