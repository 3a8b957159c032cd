"""What is wrong with a request before any model is asked; each class has a stable ``code`` that reaches clients.

::

    ServingError (headway_serving.core.errors)
     ├── UnsupportedMediaType      unsupported_media_type   the body is in none of the forms that are read
     ├── EmptyBody                 empty_body               there is no picture in the request
     ├── TooManyImages             too_many_images          there are more pictures than the limit allows
     ├── PayloadTooLarge           payload_too_large        the body has more bytes or parts than the limit allows
     ├── RequestTimeout            request_timeout          the request did not arrive in time
     ├── PassThroughOff            pass_through_off         no model server is known that takes this request
     ├── Unauthorized              unauthorized             there is no token, or an unknown one
     └── Forbidden                 forbidden                the token does not allow this
"""

from headway_serving.core.errors import ServingError


class UnsupportedMediaType(ServingError):
    """The body is in none of the forms that are read."""

    code = "unsupported_media_type"


class EmptyBody(ServingError):
    """The request has no body, or the body has no picture."""

    code = "empty_body"


class TooManyImages(ServingError):
    """The request has more pictures than the limit allows."""

    code = "too_many_images"


class PayloadTooLarge(ServingError):
    """The body has more bytes or parts than the limit allows."""

    code = "payload_too_large"


class RequestTimeout(ServingError):
    """The request did not arrive in time."""

    code = "request_timeout"


class PassThroughOff(ServingError):
    """``:predict`` is passed on to the model server's REST port, and this gateway knows none."""

    code = "pass_through_off"


class Unauthorized(ServingError):
    """The request came with no token, or with one that is not known."""

    code = "unauthorized"

    def __init__(self, detail: str, *, sent: bool = False) -> None:
        super().__init__(detail)
        self.challenge = 'Bearer realm="headway"' + (', error="invalid_token"' if sent else "")


class Forbidden(ServingError):
    """The token that the request came with does not allow this."""

    code = "forbidden"

    def __init__(self, detail: str, *, scope: str = "") -> None:
        super().__init__(detail)
        self.challenge = f'Bearer realm="headway", error="insufficient_scope", scope="{scope}"'
