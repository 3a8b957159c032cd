"""What each route says of itself, beside the route: who may call it, what it takes and what it answers.

:func:`describes` puts an :class:`Operation` on an endpoint. Authentication obeys it and ``/openapi.json`` shows it, so
the two cannot disagree; a test refuses a route without one, and authentication then asks for the scope ``admin``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask

from headway_serving.core.access import Scope

JsonSchema = Mapping[str, Any]
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """What a request may say beside its body; ``where``: ``query``, ``header`` or ``path``."""

    name: str
    where: str
    description: str
    schema: JsonSchema
    required: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer that is no error. ``content``: media type -> schema; ``headers``: name -> description."""

    description: str
    content: Mapping[str, JsonSchema]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorForm:
    """How the errors of a protocol are written: media type, and the schema that every error keeps to.

    ``has_code``: the document has the fields ``status`` and ``code`` of the table of problems.
    """

    media_type: str
    schema: JsonSchema
    has_code: bool


PROBLEM_FORM = ErrorForm("application/problem+json", {"$ref": "#/components/schemas/Problem"}, has_code=True)
ERROR_OBJECT_FORM = ErrorForm("application/json", {"$ref": "#/components/schemas/ErrorObject"}, has_code=False)


@dataclass(frozen=True)
class Operation:
    """One endpoint.

    ``scope``: what a token must allow, None if the route is open to everyone. ``answers``: by status. ``problems``:
    codes of the problems that a caller can meet, beyond those that every route has. ``parameters``: of query, headers
    and, where the default does not say enough, of the path. ``body``: media type -> schema, for those that take one.
    """

    tag: str
    summary: str
    scope: Scope | None
    answers: Mapping[int, Answer]
    description: str = ""
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, JsonSchema] | None = None
    errors: ErrorForm = PROBLEM_FORM


def describes(operation: Operation) -> Callable[[View], View]:
    """Put an operation on an endpoint; the innermost decorator, below those of the routes."""

    def put(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]  # functions take attributes
        return view

    return put


def operation_of(app: Flask, endpoint: str | None) -> Operation | None:
    """The operation of an endpoint, or None if there is none such or it describes nothing."""
    found = getattr(app.view_functions.get(endpoint or ""), "operation", None)
    assert found is None or isinstance(found, Operation)
    return found


def routes_of(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Method, rule and endpoint of every registered route, without those that Flask answers by itself."""
    rules = list(app.url_map.iter_rules())
    endpoints = list(dict.fromkeys(rule.endpoint for rule in rules))
    # In the order of registration, which is that of the code; an endpoint's shortest rule is the plain one.
    for rule in sorted(rules, key=lambda each: (endpoints.index(each.endpoint), len(each.rule))):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule.rule, rule.endpoint
