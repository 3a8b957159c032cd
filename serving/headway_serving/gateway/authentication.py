"""Who may call: bearer tokens (RFC 6750), checked from the headers before anything of the body is read.

Without a tokens file everyone may call everything, as behind a proxy that does this work.
"""

import re
from collections.abc import Callable

from flask import Flask, current_app, g, request

from headway_serving.adapters.prometheus_metrics import PrometheusMetrics
from headway_serving.adapters.token_file import Scope, Tokens
from headway_serving.gateway.error_responses import Forbidden, Unauthorized
from headway_serving.gateway.operations import operation_of

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


def install(app: Flask, tokens: Callable[[], Tokens] | None, metrics: PrometheusMetrics) -> None:
    """Set ``g.caller``, the name of the token that a request came with, or None; refuse what it does not allow.

    ``tokens`` gives the tokens of this moment; None: nobody is asked for one.
    """

    @app.before_request
    def _authenticate() -> None:
        g.caller = None
        needed = _scope_needed()
        # OPTIONS tells the methods of a path and nothing else.
        if tokens is None or needed is None or request.method == "OPTIONS":
            return
        try:
            g.caller = _caller(tokens(), needed)
        except (Unauthorized, Forbidden) as error:
            metrics.refuse_caller(error.code)
            raise


def caller() -> str | None:
    """The name of the token that the current request came with; None if it needed none."""
    name: str | None = g.get("caller")
    return name


def _scope_needed() -> Scope | None:
    # A path that leads nowhere: its 404 or 405 tells nothing that /openapi.json does not.
    if request.endpoint is None:
        return None
    operation = operation_of(current_app, request.endpoint)
    return Scope.ADMIN if operation is None else operation.scope


def _caller(tokens: Tokens, needed: Scope) -> str:
    header = request.headers.get("Authorization")
    if header is None:
        raise Unauthorized("this gateway asks for a token; send Authorization: Bearer TOKEN")
    sent = _BEARER.fullmatch(header)
    holder = tokens.holder_of(sent.group(1)) if sent else None
    if holder is None:
        raise Unauthorized("the token is not known here, or Authorization is not of the form: Bearer TOKEN", sent=True)
    if needed not in holder.scopes:
        raise Forbidden(f"token {holder.name} does not have the scope {needed} that {request.path} needs", scope=needed)
    return holder.name
