"""Asks every gateway and model server once before a command relies on them: a wrong address is told at once."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from headway_serving.adapters.metrics.traffic_window import addresses
from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.errors import DeadlineExceeded, ModelUnavailable, ServingError

_CALL_SECONDS = 2.0
_PATIENCE_SECONDS = 2.5
"""For all of them together; looking up a name has no limit of its own."""
_NOBODY = "headway-asks-who-is-there"
"""A model that nobody has: a model server says so, and whatever else listens there does not."""


class Unreachable(Exception):
    """A gateway or model server is not where the command says; the text names each and what was found there."""


def check_reachable(gateways: Sequence[str], model_servers: Sequence[str], http: httpx.Client) -> None:
    """Ask all of them at the same time. Raises :class:`Unreachable`, within 3 s."""
    asked: dict[str, Callable[[], str | None]] = {}
    for url in gateways:
        asked[f"--gateway {url}"] = lambda url=url: _gateway_problem(url, http)  # type: ignore[misc]
    for target in model_servers:
        asked[f"--model-server {target}"] = lambda target=target: _model_server_problem(target)  # type: ignore[misc]
    problems = _answers(asked)
    if problems:
        raise Unreachable("; ".join(f"{name}: {problem}" for name, problem in problems.items()))


def _answers(asked: Mapping[str, Callable[[], str | None]]) -> dict[str, str]:
    """What each that has a problem answers, in order; threads, because nothing else bounds the look-up of a name."""
    answered: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for name, ask in asked.items():
        threading.Thread(target=lambda name=name, ask=ask: answered.put((name, ask())), daemon=True).start()
    ends = time.monotonic() + _PATIENCE_SECONDS
    found: dict[str, str | None] = dict.fromkeys(asked, f"no answer within {_PATIENCE_SECONDS:g} s")
    for _ in asked:
        try:
            name, problem = answered.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        found[name] = problem
    return {name: problem for name, problem in found.items() if problem is not None}


def _gateway_problem(configured: str, http: httpx.Client) -> str | None:
    urls = list(addresses(configured))
    if not urls:
        return "the name has no address"
    for url in urls:
        try:
            answer = http.get(f"{url}/livez", timeout=_CALL_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return f"no gateway answers at {url}: {str(error) or type(error).__name__}"
        if answer.status_code != 200 or answer.text != "ok\n":
            return f"what answers at {url} is no Headway gateway (/livez: {answer.status_code})"
    return None


def _model_server_problem(target: str) -> str | None:
    """A gRPC target that cannot be asked has an error text of its own; names are looked up by gRPC itself."""
    try:
        server = TfServingPredictor(target)
    except ValueError as error:
        return str(error)
    try:
        server.version_states(_NOBODY, _CALL_SECONDS)
    except ModelUnavailable:
        return "no model server answers there (gRPC); is the port its gRPC port, and does it run?"
    except DeadlineExceeded:
        return f"no answer within {_CALL_SECONDS:g} s"
    except ServingError as error:
        return f"what answers there is no model server: {error}"
    finally:
        server.close()
    return None
