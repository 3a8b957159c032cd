"""Which API server is asked, and as whom."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """An API server. ``token`` is asked before each request: tokens of service accounts are replaced every hour.

    ``tls``: whom to believe and what to show; None: the server speaks plain HTTP. ``tls_name``: the name that the
    server's certificate must have, if that is not the address's. ``who``: for people, as in ``kubeconfig FILE``.
    """

    server: str
    token: Callable[[], str | None]
    tls: ssl.SSLContext | None
    who: str
    tls_name: str | None = None
