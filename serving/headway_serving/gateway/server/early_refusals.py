"""A picture that cannot be taken now is refused when its headers are here, for a tenth of what an answer costs.

Admission bounds what is worked on, but only sees a request when its turn has come. When far more is asked than can be
answered, most of the time would go into saying no; so the HTTP server says it, before anything is made of the request.
"""

import json
import time
from collections.abc import Iterable
from functools import lru_cache

from headway_serving.core.admission import Admission
from headway_serving.core.errors import Overloaded
from headway_serving.gateway.requests.identity import begin
from headway_serving.gateway.requests.observation import ObservedClassifier
from headway_serving.gateway.requests.problems import problem_part, retry_after_seconds
from headway_serving.gateway.server.raw_answers import raw_problem

_PREFIX, _VERB = b"/v1/models/", b":classify"


class EarlyRefusals:
    """Counts the classifications that are complete and not answered, and refuses more than admission would let in.

    For one event loop, whose thread alone may use it. ``under_way``: the HTTP server keeps the count.
    """

    def __init__(self, admission: Admission, classifier: ObservedClassifier) -> None:
        self._admission, self._classifier = admission, classifier
        self.under_way = 0

    @staticmethod
    def concern(method: bytes, target: bytes) -> bool:
        """Whether a request is one of those that are counted and refused here."""
        return method == b"POST" and _VERB in target and target.startswith(_PREFIX)

    def refusal(self, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """The whole answer to a request that is refused, or None: it goes on."""
        if self.under_way < self._admission.limit:
            return None
        sent_id = next((value for name, value in headers if name == b"x-request-id"), b"")
        identity = begin(sent_id.decode("latin-1"), None, time.monotonic())
        error = self._admission.overloaded()
        model = target[len(_PREFIX) :].split(b"/", 1)[0].split(b":", 1)[0].decode("latin-1")
        self._classifier.count_refusal(model, error)
        # An id has no character that JSON would escape.
        body = f'{_problem(str(error))}, "request_id": "{identity.request_id}"}}'
        return raw_problem(503, body, ("Retry-After", str(retry_after_seconds(error))))


@lru_cache(maxsize=1024)
def _problem(detail: str) -> str:
    """The problem as JSON, all but its request's id and its end; few details come again and again."""
    return json.dumps(problem_part(Overloaded(detail, 1.0))).removesuffix("}")
