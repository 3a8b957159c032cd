"""What can go wrong with a store: one error for whatever the libraries behind the URLs raise."""

import contextlib
from collections.abc import Iterator

from headway_contract.errors import ContractError


class StoreUnavailable(Exception):
    """A store cannot be reached, read or written; its text says which and why."""


@contextlib.contextmanager
def translated(store: str) -> Iterator[None]:
    """Raise :class:`StoreUnavailable` for any error but our own.

    Every library behind a URL has errors of its own (botocore, aiohttp, gcsfs, adlfs), without a common base.
    """
    try:
        yield
    except (ContractError, StoreUnavailable):
        raise
    except Exception as error:
        what = str(error) or type(error).__name__
        raise StoreUnavailable(f"{store}: {what} ({type(error).__name__})") from error
