"""What the serving core raises; each class has a stable ``code`` that reaches clients.

::

    ServingError
     ├── InvalidRequest            invalid_request      the request cannot be answered as it stands
     ├── ModelNotFound             model_not_found      no such model is routed
     ├── VersionNotFound           version_not_found    the model server has no such version
     ├── LabelNotFound             label_not_found      the model's routes name no such label
     ├── IncompatibleModel         incompatible_model   the version does not describe itself as this release needs
     ├── DeadlineExceeded          deadline_exceeded    the answer did not come in time
     ├── ModelUnavailable          model_unavailable    the model server is away, starting or restarting
     ├── PredictionFailed          prediction_failed    the model server refused or failed to run the model
     ├── AnswerTooLarge            answer_too_large     what the model server answers is more than is passed on
     └── Overloaded                overloaded           more work is under way than can be answered in good time
"""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """The error and all that it came from (causes, contexts, members of groups) without their tracebacks.

    A traceback holds the frames that the error passed, and those hold pictures, pixels and bodies. Where one of those
    frames, or what it refers to, holds the error, that is a cycle: the memory would only return when Python looks for
    cycles. So whoever keeps an error for later, or has answered it, takes its frames away. What is to be logged with a
    traceback is logged before.
    """
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = None
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return error


class ServingError(Exception):
    """Base of the tree; its text says what, where and what to do."""

    code = "internal_error"


class InvalidRequest(ServingError):
    """The request cannot be answered as it stands."""

    code = "invalid_request"


class ModelNotFound(ServingError):
    """No such model is routed."""

    code = "model_not_found"


class VersionNotFound(ServingError):
    """The model server has no such version of the model."""

    code = "version_not_found"


class LabelNotFound(ServingError):
    """The model's routes name no such label."""

    code = "label_not_found"


class IncompatibleModel(ServingError):
    """The version has no manifest, or one that this release does not understand."""

    code = "incompatible_model"


class DeadlineExceeded(ServingError):
    """The answer did not come within the request's time."""

    code = "deadline_exceeded"


class ModelUnavailable(ServingError):
    """The model server is away, starting or restarting; try again soon."""

    code = "model_unavailable"


class PredictionFailed(ServingError):
    """The model server refused or failed to run the model."""

    code = "prediction_failed"


class AnswerTooLarge(ServingError):
    """What the model server answers is more than is passed on; fewer rows would be less."""

    code = "answer_too_large"


class Overloaded(ServingError):
    """More work is under way than can be answered in good time; a new try is worth it after ``retry_after`` seconds.

    ``reason``, for those who run the gateway: ``limit`` (the queue sheds), ``deadline`` (its turn did not come in
    time), ``bytes`` (of bodies), ``memory`` (for decoding), ``threads`` or ``connections``.
    """

    code = "overloaded"

    def __init__(self, text: str, retry_after: float = 1.0, reason: str = "limit") -> None:
        super().__init__(text)
        self.retry_after, self.reason = retry_after, reason
