"""The plain values of ``routes.json``, each read strictly and refused with its place."""

from collections.abc import Mapping
from typing import Any


class InvalidRoutes(Exception):
    """The routes file cannot be read or used; the text says what is wrong and where."""


def section(value: Any, where: str, *, required: set[str], optional: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """An object with all required keys and no unknown ones."""
    if not isinstance(value, dict):
        raise InvalidRoutes(f"{where}: an object is needed, not {value!r}")
    missing, unknown = sorted(required - set(value)), sorted(set(value) - required - optional)
    if missing:
        raise InvalidRoutes(f"{where}: missing {', '.join(missing)}")
    if unknown:
        raise InvalidRoutes(
            f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(required | optional))}"
        )
    return value


def version_of(value: Any, where: str) -> int:
    """A version's number."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidRoutes(f"{where}: a version number is needed, not {value!r}")
    return value


def number_of(value: Any, where: str) -> float:
    """A finite number."""
    # A whole number may have more digits than a float can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
        raise InvalidRoutes(f"{where}: a number is needed, not {value!r}")
    return float(value)


def share_of(value: Any, where: str) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRoutes(f"{where}: a number from 0 to 1 is needed, not {value!r}")
    return float(value)


def count_of(value: Any, where: str) -> int:
    """A whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**15:
        raise InvalidRoutes(f"{where}: a whole number of 0 or more is needed, not {value!r}")
    return value


def text_of(value: Any, where: str, longest: int = 10_000) -> str:
    """A text of at most ``longest`` characters."""
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidRoutes(f"{where}: a text of at most {longest} characters is needed")
    return value


def numbers_of(value: Any, where: str) -> tuple[float, ...]:
    """A list of finite numbers."""
    if not isinstance(value, list):
        raise InvalidRoutes(f"{where}: a list of numbers is needed, not {value!r}")
    return tuple(number_of(each, f"{where}[{index}]") for index, each in enumerate(value))
