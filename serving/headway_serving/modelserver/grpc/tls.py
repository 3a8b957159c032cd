"""TLS for the gRPC ports: TensorFlow Serving's SSLConfig text file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.process import text_config

_SSLConfig = text_config.define(
    "SSLConfig", {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"}
)


def server_credentials(path: Path) -> Any:
    """Return gRPC's server credentials for the SSLConfig in ``path``, whose values are PEM texts.

    ``custom_ca`` signs the clients' certificates, which ``client_verify`` demands. Raises StatusError: NOT_FOUND or
    INVALID_ARGUMENT if the file cannot be read or is no SSLConfig, INVALID_ARGUMENT if it holds no key or
    certificate, or demands client certificates without an authority to verify them with.
    """
    config = text_config.read(path, _SSLConfig())
    if not config.server_key or not config.server_cert:
        raise invalid_argument(f"{path} must hold the PEM texts of server_key and server_cert")
    if config.client_verify and not config.custom_ca:
        raise invalid_argument(f"{path} sets client_verify, which needs the PEM text of custom_ca")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
