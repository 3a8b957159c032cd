"""What is decided about a request from its head: how long its body may take, and whether there is room for it.

A picture whose model's queue sheds is refused when its headers are here, for a tenth of what an answer costs: when far
more is asked than can be answered, most of the time would else go into saying no.
"""

import json
import time
from collections.abc import Mapping
from functools import lru_cache

from headway_serving.core.admission import Admission
from headway_serving.core.errors import Overloaded
from headway_serving.core.request_trace import parse_traceparent
from headway_serving.gateway.requests.cross_origin import CrossOrigin
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.requests.grammar import RequestLimits, timeout_ms
from headway_serving.gateway.requests.identity import begin, standard_headers
from headway_serving.gateway.requests.observation import Observer
from headway_serving.gateway.requests.problems import (
    answer_to_error,
    problem_answer,
    problem_part,
    retry_after_seconds,
    server_problem,
)
from headway_serving.gateway.server.reading import Request

_PREFIX, _VERB = b"/v1/models/", b":classify"


class GatewayIntake:
    """The :class:`~.reading.Intake` of the gateway. For one event loop, whose thread alone may use it."""

    def __init__(
        self,
        limits: RequestLimits,
        max_held_bytes: int,
        admission: Admission,
        observer: Observer,
        cross_origin: CrossOrigin | None = None,
    ) -> None:
        """``max_held_bytes``: of all bodies that are here at the same time."""
        self._limits, self._max_held_bytes = limits, max_held_bytes
        self._cross_origin = cross_origin or CrossOrigin()
        self._admission, self._observer = admission, observer
        self._held = 0
        self._answers: dict[int, int] = {}

    @property
    def held(self) -> int:
        """Bytes of bodies that are here now."""
        return self._held

    def answers(self) -> Mapping[int, int]:
        """How many answers of each status were sent."""
        return dict(self._answers)

    def count_answer(self, status: int) -> None:
        """An answer of this status is sent."""
        self._answers[status] = self._answers.get(status, 0) + 1

    def count_refused_connection(self, status: int) -> None:
        """A client was told that its connection cannot be kept."""
        self.count_answer(status)
        self._observer.metrics.shed("connections")

    @property
    def max_body_bytes(self) -> int:
        """How large one body may be."""
        return self._limits.max_body_bytes

    def refusal(self, request: Request) -> Answer | None:
        """The answer to a picture for which there is no room, or None."""
        if not is_classification(request):
            return None
        error = self._admission.refusal(_model_of(request))
        if error is None:
            return None
        return self.refused(request, error)

    def refused(self, request: Request, error: Overloaded) -> Answer:
        """The answer to a request for which there is no room; a classification is counted."""
        answer = self._refused(request, error)
        origin = request.values.get(b"origin")
        said = self._cross_origin.headers(None if origin is None else origin.decode("latin-1"))
        return Answer(answer.status, [*answer.headers, *said], answer.body)

    def _refused(self, request: Request, error: Overloaded) -> Answer:
        _identify(request)
        if not is_classification(request):
            return _complete(answer_to_error(error, request.target.split(b"?", 1)[0].decode("latin-1")))
        self._observer.count_refusal(_model_of(request), error)
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Retry-After", str(retry_after_seconds(error))),
            *standard_headers(),
        ]
        # An id has no character that JSON would escape.
        request_id = headers[-2][1]
        return Answer(503, headers, f'{_problem(str(error))}, "request_id": "{request_id}"}}'.encode())

    def problem(self, status: int, detail: str) -> Answer:
        """The answer to what is no request that an endpoint could see; it has a new id."""
        begin("", None, time.monotonic())
        return _complete(server_problem(status, detail))

    def answer_to(self, error: Exception) -> Answer:
        """The answer to an error outside of any endpoint; it has a new id. An internal error is logged."""
        begin("", None, time.monotonic())
        return _complete(problem_answer(error))

    def body_seconds(self, request: Request) -> float:
        """How long the body may take: as long as the request. A time that cannot be used is refused by the endpoint."""
        text = request.values.get(b"x-request-timeout-ms", b"").decode("latin-1")
        return (timeout_ms(text, self._limits) or self._limits.timeout_ms) / 1000

    def hold(self, size: int) -> bool:
        """Count so many bytes of a body; False, and nothing is counted, if there is no room for them."""
        if self._held + size > self._max_held_bytes:
            return False
        self._held += size
        return True

    def release(self, size: int) -> None:
        """So many bytes of a body are needed no more."""
        self._held -= size


def is_classification(request: Request) -> bool:
    """Whether a request is one of those that are counted and refused from their heads."""
    return request.method == b"POST" and _VERB in request.target and request.target.startswith(_PREFIX)


def _model_of(request: Request) -> str:
    return request.target[len(_PREFIX) :].split(b"/", 1)[0].split(b":", 1)[0].decode("latin-1")


def _complete(answer: Answer) -> Answer:
    return Answer(answer.status, [*answer.headers, *standard_headers()], answer.body)


def _identify(request: Request) -> None:
    values = request.values
    wanted = values.get(b"x-request-id", b"").decode("latin-1")
    header = values.get(b"traceparent")
    caller = None
    if header is not None:
        caller = parse_traceparent(header.decode("latin-1"), values.get(b"tracestate", b"").decode("latin-1"))
    begin(wanted, caller, request.received_at)


@lru_cache(maxsize=1024)
def _problem(detail: str) -> str:
    """The problem as JSON, all but its request's id and its end; few details come again and again."""
    return json.dumps(problem_part(Overloaded(detail, 1.0))).removesuffix("}")
