"""What a model may be called. Apart from the repository, so that checking a name needs no picture library."""

import re

from headway_contract.errors import RepositoryError

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def is_model_name(name: str) -> bool:
    """Whether ``name`` can be a model's name."""
    return _MODEL_NAME.fullmatch(name) is not None


def check_model_name(name: str) -> str:
    """Return ``name`` if it can be a model's name, else raise :class:`RepositoryError`.

    A name is a folder, a URL segment and a metric label: letters, digits, ``.``, ``_`` and ``-``, 63 at most.
    """
    if not is_model_name(name):
        raise RepositoryError(
            f"{name!r} cannot be a model's name: use 1 to 63 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return name
