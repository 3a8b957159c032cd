"""Headway's client: send pictures to a gateway, get typed answers.

    from headway_client import Client

    with Client("http://127.0.0.1:8080") as client:
        answer = client.classify("seven.png", model="digits-5to9")
        print(answer.label, answer.score)

The names below are imported on first use, because the `headway` command lives in this package too and its
`--help` should not pay for an HTTP library.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway_client.client import Client
    from headway_client.errors import (
        ConnectionFailed,
        DeadlineExceeded,
        HeadwayError,
        InvalidRequest,
        InvalidResponse,
        ModelRequired,
        NoPrediction,
        NotFound,
        Overloaded,
        ProblemError,
        ServerFailed,
        TimedOut,
        Unavailable,
        UnsupportedInput,
    )
    from headway_client.images import ImageInput
    from headway_client.results import (
        Classification,
        Feedback,
        FeedbackTally,
        IgnoredFeedback,
        ModelInfo,
        Prediction,
        Result,
    )

__all__ = [
    "Classification",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Feedback",
    "FeedbackTally",
    "HeadwayError",
    "IgnoredFeedback",
    "ImageInput",
    "InvalidRequest",
    "InvalidResponse",
    "ModelInfo",
    "ModelRequired",
    "NoPrediction",
    "NotFound",
    "Overloaded",
    "Prediction",
    "ProblemError",
    "Result",
    "ServerFailed",
    "TimedOut",
    "Unavailable",
    "UnsupportedInput",
]

_HOME = {
    "Client": "client",
    "ImageInput": "images",
    "Classification": "results",
    "Feedback": "results",
    "FeedbackTally": "results",
    "IgnoredFeedback": "results",
    "ModelInfo": "results",
    "Prediction": "results",
    "Result": "results",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home module; whatever has no home listed is an error class."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
