"""The shared plain services as they are, made to load where Flask is installed.

``baseline.py`` gives Flask two lambdas as views and no endpoint names; Flask derives the same name for both and refuses
the second. Here each gets the name of its function and path. Nothing else is touched, and no request passes through.
"""

from typing import Any

import flask

_add_url_rule = flask.Flask.add_url_rule


def _with_own_name(app: flask.Flask, rule: str, endpoint: str | None = None, *rest: Any, **options: Any) -> None:
    _add_url_rule(app, rule, endpoint or rule.strip("/").replace(".", "_"), *rest, **options)


setattr(flask.Flask, "add_url_rule", _with_own_name)  # noqa: B010  # mypy refuses to see a method assigned to
from baseline import fastapi_app, flask_app  # type: ignore[import-not-found]  # noqa: E402  # found by PYTHONPATH

__all__ = ["fastapi_app", "flask_app"]
