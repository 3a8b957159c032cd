"""Problems as whole HTTP answers, for requests that the HTTP server refuses before any application sees them."""

from http import HTTPStatus

from headway_serving.gateway.request_context import standard_headers


def raw_problem(status: int, body: str, *headers: tuple[str, str]) -> bytes:
    """The answer with a problem's JSON text; it carries the id of the request that :func:`identify` made current."""
    encoded = body.encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(encoded)}",
        *[f"{name}: {value}" for name, value in (*headers, *standard_headers())],
    ]
    return "\r\n".join([*lines, "", ""]).encode() + encoded
