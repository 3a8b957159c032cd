"""Everything that can go wrong in the client, as one tree.

HeadwayError
├── UnsupportedInput        what was passed cannot be sent (also a ValueError)
├── ModelRequired           no model was named and the gateway does not serve exactly one
├── NoPrediction            the result asked for holds no prediction (also a LookupError)
├── ConnectionFailed        the gateway cannot be reached, or hung up
├── TimedOut                no answer within the timeout
├── InvalidResponse         the answer is not what a Headway gateway sends
└── ProblemError            the gateway refused or failed: status, code, detail, request_id, retry_after
    ├── InvalidRequest      4xx
    │   └── NotFound        404: no such model, version or label
    └── ServerFailed        5xx
        ├── Unavailable     503
        │   └── Overloaded  503 with the code `overloaded`: the load was shed, retry later
        └── DeadlineExceeded  504: the gateway gave up in time (also a TimedOut)

Errors of httpx never leave the client: `translate` turns each into one of these by a single table. Files that
cannot be read raise the usual OSError.
"""

from collections.abc import Sequence

import httpx


class HeadwayError(Exception):
    """Base of every error this package raises on purpose."""


class UnsupportedInput(HeadwayError, ValueError):
    """An argument (usually the image) cannot be sent; the message says what to pass instead."""


class ModelRequired(HeadwayError):
    """No model was named and the gateway serves none or several; `models` names them."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__(models)
        self.models = tuple(models)

    def __str__(self) -> str:
        if not self.models:
            return "the gateway serves no model yet; publish one, or wait until it is loaded"
        return f"the gateway serves {len(self.models)} models, so name one of: {', '.join(self.models)}"


class NoPrediction(HeadwayError, LookupError):
    """There is no single best prediction: none reached `min_confidence`, or there are several images."""


class ConnectionFailed(HeadwayError):
    """The gateway could not be reached, or closed the connection before it answered."""


class TimedOut(HeadwayError):
    """No answer within the timeout."""


class InvalidResponse(HeadwayError):
    """The answer does not follow Headway's HTTP contract; the message says where."""


class ProblemError(HeadwayError):
    """The gateway answered with a problem.

    status is the HTTP status (400..599); code is stable and meant for programs (`unknown` if something that
    is not a gateway answered); title and detail are for people; request_id finds the request in the
    gateway's log ("" if unknown); retry_after is in seconds, None if the answer did not say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str = "",
        detail: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        # All of them go to Exception, so that the error can be pickled: process pools send errors home.
        super().__init__(status, code, title, detail, request_id, retry_after)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        parts = [f"{self.detail or self.title or 'no explanation was given'} [{self.status} {self.code}]"]
        if self.retry_after is not None:
            parts.append(f"retry in {self.retry_after:g} s")
        if self.request_id:
            parts.append(f"request id {self.request_id}")
        return "; ".join(parts)


class InvalidRequest(ProblemError):
    """4xx: the request has to change before it can succeed."""


class NotFound(InvalidRequest):
    """404: no such model, version or label (`code` says which)."""


class ServerFailed(ProblemError):
    """5xx: the gateway or what stands behind it failed; the same request may succeed later."""


class Unavailable(ServerFailed):
    """503: nothing can answer now; `retry_after` says when to try again, where the gateway knows."""


class Overloaded(Unavailable):
    """503 with the code `overloaded`: the gateway shed this request to keep the others quick."""


class DeadlineExceeded(ServerFailed, TimedOut):
    """504: the gateway stopped waiting for the model because the request's timeout had passed."""


_PROBLEM_BY_CODE: dict[str, type[ProblemError]] = {
    "overloaded": Overloaded,
    "deadline_exceeded": DeadlineExceeded,
}
_PROBLEM_BY_STATUS: dict[int, type[ProblemError]] = {
    404: NotFound,
    503: Unavailable,
    504: DeadlineExceeded,
}


def problem_class(status: int, code: str) -> type[ProblemError]:
    """The class for an HTTP status of 400 or more and a stable code: the code first, it says more."""
    by_family = InvalidRequest if status < 500 else ServerFailed
    return _PROBLEM_BY_CODE.get(code) or _PROBLEM_BY_STATUS.get(status) or by_family


# The most specific class wins. RequestError is the floor: a class that a later httpx adds still becomes a
# HeadwayError, and a test fails until it has its own line.
TRANSLATIONS: dict[type[Exception], tuple[type[HeadwayError], str]] = {
    httpx.TimeoutException: (TimedOut, "no answer in time from {url}; allow a longer timeout or retry"),
    httpx.ConnectError: (ConnectionFailed, "cannot reach {url}; is the gateway running there?"),
    httpx.NetworkError: (
        ConnectionFailed,
        "the connection to {url} broke; retry, or look at the gateway's log",
    ),
    httpx.ProxyError: (
        ConnectionFailed,
        "the HTTP proxy did not let us reach {url}; see HTTP_PROXY, NO_PROXY",
    ),
    httpx.RemoteProtocolError: (ConnectionFailed, "{url} hung up or does not speak HTTP; is it a gateway?"),
    httpx.LocalProtocolError: (
        UnsupportedInput,
        "the request to {url} would not be valid HTTP; see its headers",
    ),
    httpx.UnsupportedProtocol: (UnsupportedInput, "{url} is not a URL; write http://HOST:PORT"),
    httpx.InvalidURL: (UnsupportedInput, "{url} is not a URL; write http://HOST:PORT"),
    httpx.DecodingError: (
        InvalidResponse,
        "the answer of {url} is not encoded as it claims; is it a gateway?",
    ),
    httpx.TooManyRedirects: (InvalidResponse, "{url} redirects in circles; use the gateway's own URL"),
    httpx.RequestError: (ConnectionFailed, "the request to {url} failed"),
}


def translate(error: Exception, url: str) -> HeadwayError:
    """The HeadwayError for an httpx error (a class of TRANSLATIONS or below one) met on the way to `url`."""
    kind, text = next(TRANSLATIONS[base] for base in type(error).__mro__ if base in TRANSLATIONS)
    reason = f" ({error})" if str(error) else ""
    return kind(text.format(url=url) + reason)
