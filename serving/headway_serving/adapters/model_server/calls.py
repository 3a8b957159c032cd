"""One call to the model server, as it is told to metrics and traces."""

from collections.abc import Callable
from dataclasses import dataclass

from headway_serving.core.request_trace import TraceContext


@dataclass(frozen=True, slots=True)
class ModelServerCall:
    """A call that has ended. ``transport``: ``grpc`` or ``local``; ``code``: gRPC's name of its status.

    ``signature`` and ``version``: of a Predict. ``began`` and ``ended``: seconds on the monotonic clock. ``span``: the
    call's own, where its trace is known; ``parent``: the request's.
    """

    method: str
    transport: str
    code: str
    model: str
    version: int | None
    signature: str | None
    began: float
    ended: float
    span: TraceContext | None
    parent: TraceContext | None


Observe = Callable[[ModelServerCall], None]


def nobody(_: ModelServerCall) -> None:
    """Observe nothing."""
