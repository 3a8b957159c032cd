"""The three forms in which pictures are posted -> their encoded bytes."""

from collections.abc import Iterator

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder
from werkzeug.wrappers import Request

from headway_contract.picture_header import sniff
from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.requests.base64_text import decoded
from headway_serving.gateway.requests.errors import EmptyBody, PayloadTooLarge, TooManyImages, UnsupportedMediaType
from headway_serving.gateway.requests.grammar import RequestLimits
from headway_serving.gateway.requests.json_bodies import parse_json

PART_NAMES = ("image", "images", "file", "files")
"""The names of a form's parts that are pictures; the first is the documented one, the others are what people use."""

MOST_OTHER_PARTS = 16
"""In one form, beside the pictures."""

_MOST_VALUES = 100_000
"""In one JSON body, of which each picture is two."""

_UNDECIDED = ("", "application/x-www-form-urlencoded", "text/plain", "binary/octet-stream", "*/*")
"""What clients send that were told no type (curl's --data-binary): the content decides."""

EMPTY_PICTURE = "image 0 (counted from 0) is empty: 0 bytes were sent"
"""What is said of a request's only picture; among several, an empty one has a problem of its own."""

_FORMS = (
    "send the picture itself (Content-Type: image/png or another image type, or application/octet-stream), "
    'multipart/form-data with parts named "image", or JSON {"images": [{"b64": "..."}]}'
)


def read_images(request: Request, limits: RequestLimits) -> list[bytes]:
    """The encoded pictures of a request, 1 to ``limits.max_images`` of them; of several, some may be empty.

    Raises :class:`UnsupportedMediaType`, :class:`EmptyBody`, :class:`TooManyImages`, :class:`PayloadTooLarge`,
    ``InvalidRequest``, or werkzeug's ``RequestEntityTooLarge`` when the body is over the application's limit.
    """
    kind = request.mimetype
    if kind in _UNDECIDED:
        kind = _by_content(request.get_data(), kind)
    if kind.startswith("image/") or kind == "application/octet-stream":
        images = [request.get_data(cache=False)]
    elif kind == "multipart/form-data":
        images = _from_form(request, limits)
    elif kind == "application/json":
        images = _from_json(request.get_data(cache=False))
    elif not kind and not request.get_data():
        raise EmptyBody(f"the request has no body; {_FORMS}")
    else:
        raise UnsupportedMediaType(
            f"{f'Content-Type {kind} is not read here' if kind else 'no Content-Type'}; {_FORMS}"
        )
    if not images:
        raise EmptyBody(f"the request has no picture; {_FORMS}")
    if len(images) > limits.max_images:
        raise TooManyImages(f"{len(images)} pictures were sent; at most {limits.max_images} are taken in one request")
    if images == [b""]:
        raise EmptyBody(EMPTY_PICTURE)
    return images


def _by_content(body: bytes, kind: str) -> str:
    """The type of a body whose header says nothing: a picture, JSON, or the header's own type."""
    if sniff(body) is not None:
        return "application/octet-stream"
    return "application/json" if body[:64].lstrip().startswith(b"{") else kind


def _from_form(request: Request, limits: RequestLimits) -> list[bytes]:
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise InvalidRequest(
            "Content-Type multipart/form-data has no boundary, so its parts cannot be told apart; let the HTTP library "
            "write that header, or add the boundary that the body uses: multipart/form-data; boundary=..."
        )
    body = request.get_data(cache=False)
    if not body:
        raise EmptyBody(f"the request has no body; {_FORMS}")
    images, other_files = [], []
    for name, filename, content in _parts(body, boundary, limits.max_images + MOST_OTHER_PARTS):
        if filename == "" and not content:
            continue  # a browser's file field in which nothing was chosen
        if name in PART_NAMES:
            images.append(content)
        elif filename is not None:
            other_files.append(name)
    if other_files:
        names = ", ".join(sorted({repr(name[:40]) for name in other_files}))
        kind = InvalidRequest if images else EmptyBody
        raise kind(
            f'the form\'s files named {names} are not read: pictures are parts named "image" '
            f"(or {', '.join(PART_NAMES[1:])})"
        )
    return images


def _parts(body: bytes, boundary: str, most: int) -> Iterator[tuple[str, str | None, bytes]]:
    """Name, file name (None where there is none) and content of each part. Raises as :func:`read_images`."""
    decoder = MultipartDecoder(boundary.encode("latin-1", "replace"), max_parts=most)
    decoder.receive_data(body)
    decoder.receive_data(None)
    name, filename, content = "", None, b""
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, Field | File):
                name, content = event.name or "", b""
                filename = event.filename if isinstance(event, File) else None
            elif isinstance(event, Data):
                content += event.data
                if not event.more_data:
                    yield name, filename, content
    except RequestEntityTooLarge:
        raise PayloadTooLarge(f"the request has a form of more than {most} parts; send fewer pictures") from None
    except ValueError as error:
        raise InvalidRequest(
            f"the multipart/form-data body cannot be read: {error}; each part begins with the boundary that "
            "Content-Type names, and the last one ends with it and --"
        ) from error


def _from_json(body: bytes) -> list[bytes]:
    if not body:
        raise EmptyBody(f"the request has no body; {_FORMS}")
    document = parse_json(body, _MOST_VALUES)
    items = document.get("images") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise InvalidRequest('the JSON body needs "images": a list of {"b64": "..."}')
    return [_from_base64(index, item) for index, item in enumerate(items)]


def _from_base64(index: int, item: object) -> bytes:
    text = item.get("b64") if isinstance(item, dict) else None
    if not isinstance(text, str):
        fetched = "; pictures are never fetched from an address" if isinstance(item, dict) and "url" in item else ""
        raise InvalidRequest(f'images[{index}]: {{"b64": "..."}} is needed, the picture in base64{fetched}')
    try:
        return decoded(text)
    except ValueError as error:
        raise InvalidRequest(f"images[{index}].b64 is not base64: {error}") from error
