"""The three forms in which pictures are posted -> their encoded bytes."""

import base64
import binascii

from werkzeug.wrappers import Request

from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.requests.json_bodies import parse_json
from headway_serving.gateway.requests.problems import EmptyBody, TooManyImages, UnsupportedMediaType

_MOST_VALUES = 100_000
"""In one JSON body, of which each picture is two."""

_FORMS = (
    "send the picture itself (Content-Type: image/png or another image type, or application/octet-stream), "
    'multipart/form-data with parts named "image", or JSON {"images": [{"b64": "..."}]}'
)


def read_images(request: Request, max_images: int) -> list[bytes]:
    """The encoded pictures of a request, 1 to ``max_images`` of them.

    Raises :class:`UnsupportedMediaType`, :class:`EmptyBody`, :class:`TooManyImages`, ``InvalidRequest``, or werkzeug's
    ``RequestEntityTooLarge`` when the body is over the application's limit.
    """
    kind = request.mimetype
    if kind.startswith("image/") or kind == "application/octet-stream":
        images = [request.get_data(cache=False)]
    elif kind == "multipart/form-data":
        images = [part.read() for part in request.files.getlist("image")]
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
    if len(images) > max_images:
        raise TooManyImages(f"{len(images)} pictures were sent; at most {max_images} are taken in one request")
    for index, image in enumerate(images):
        if not image:
            raise EmptyBody(f"image {index} (counted from 0) is empty: 0 bytes were sent")
    return images


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
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"images[{index}].b64 is not base64: {error}") from error
