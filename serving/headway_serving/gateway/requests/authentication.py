"""Who may call: bearer tokens (RFC 6750), checked from the headers before anything of the body is read.

Without a tokens file everyone may call everything, as behind a proxy that does this work.
"""

import re
from collections.abc import Callable

from flask import Flask, current_app, request

from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.access import Scope, Tokens
from headway_serving.gateway.requests.errors import Forbidden, Unauthorized
from headway_serving.gateway.requests.grammar import RequestView
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.operations import operation_of

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


class Authentication:
    """Checks what a request may do. ``tokens`` gives the tokens of this moment; None: nobody is asked for one."""

    def __init__(self, tokens: Callable[[], Tokens] | None, metrics: PrometheusMetrics) -> None:
        self._tokens, self._metrics = tokens, metrics

    def check(self, http: RequestView, needed: Scope | None) -> None:
        """Note the caller's name with the current request. Raises :class:`Unauthorized` or :class:`Forbidden`."""
        if self._tokens is None or needed is None:
            return
        try:
            current().caller = _caller(http, self._tokens(), needed)
        except (Unauthorized, Forbidden) as error:
            self._metrics.refuse_caller(error.code)
            raise


def install(app: Flask, authentication: Authentication) -> None:
    """Refuse requests of ``app`` that the caller's token does not allow."""

    @app.before_request
    def _authenticate() -> None:
        # OPTIONS tells the methods of a path and nothing else.
        authentication.check(request, None if request.method == "OPTIONS" else _scope_needed())


def _scope_needed() -> Scope | None:
    # A path that leads nowhere: its 404 or 405 tells nothing that /openapi.json does not.
    if request.endpoint is None:
        return None
    operation = operation_of(current_app, request.endpoint)
    return Scope.ADMIN if operation is None else operation.scope


def _caller(http: RequestView, tokens: Tokens, needed: Scope) -> str:
    header = http.headers.get("Authorization")
    if header is None:
        raise Unauthorized("this gateway asks for a token; send Authorization: Bearer TOKEN")
    sent = _BEARER.fullmatch(header)
    holder = tokens.holder_of(sent.group(1)) if sent else None
    if holder is None:
        raise Unauthorized("the token is not known here, or Authorization is not of the form: Bearer TOKEN", sent=True)
    if needed not in holder.scopes:
        raise Forbidden(f"token {holder.name} does not have the scope {needed} that {http.path} needs", scope=needed)
    return holder.name
