"""A version is loaded while it is checked, and stays loaded only if the checks end well."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.files.routes import read_routes
from headway_serving.operations.models_config import load_also, unload


@contextlib.contextmanager
def loaded_tentatively(
    models_config: Place | None, repository: ModelRepository, routes_file: Place, model: str, version: int
) -> Iterator[None]:
    """Have ``models_config`` name the version; if the block fails, or somebody ends the command, take it out again.

    What cannot be loaded may end the model server, and would end it again and again. Without a file, versions are
    loaded by other means. Raises what :func:`load_also` and :func:`unload` raise.
    """
    if models_config is None:
        yield
        return
    load_also(models_config, repository, model, version)
    try:
        with _ended_by_exception():
            yield
    except BaseException:
        # Read again: loading may have taken minutes, and nothing that is routed by now may be unloaded.
        unload(models_config, repository, read_routes(routes_file), model, version)
        raise


@contextlib.contextmanager
def _ended_by_exception() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what was begun is taken back."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
