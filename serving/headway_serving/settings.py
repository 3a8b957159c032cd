"""Every tunable of the gateway process, read from ``HEADWAY_*`` variables in one place.

Only the functions that compose a process read settings; everything else is given values.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "HEADWAY_"

_HTTP_ORIGIN = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_WEB_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_CONFIG_MAP = re.compile(r"kubernetes:[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")


class InvalidSettings(Exception):
    """One or more variables cannot be used; the text names each of them and what it must be."""


def _setting(default: Any, doc: str, low: float = -math.inf, high: float = math.inf) -> Any:
    return field(default=default, metadata={"doc": doc, "low": low, "high": high})


@dataclass(frozen=True)
class GatewaySettings:
    """The settings of the gateway process. Field ``x`` is read from the variable ``HEADWAY_X``."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = _setting(8080, "TCP port to listen on", 1, 65535)
    model_server: str = _setting("127.0.0.1:8500", "gRPC target of the model server: HOST:PORT or dns:///HOST:PORT")
    model_server_rest: str = _setting("", "the model server's REST API, for :predict: http://HOST:PORT; empty: none")
    model_server_socket: Path | None = _setting(
        None, "Unix socket of the embedded model server on this machine, quicker than gRPC; unset: gRPC alone"
    )
    routes_file: Path = _setting(Path("routes.json"), "the file that says which version of each model gets traffic")
    routes: str = _setting(
        "", "kubernetes:NAMESPACE/NAME: the ConfigMap whose routes.json is watched; empty: HEADWAY_ROUTES_FILE alone"
    )
    routes_poll_seconds: float = _setting(
        0.5, "how often the routes and tokens files are looked at for changes, seconds", 0.05, 60
    )
    threads: int = _setting(40, "threads for forms and JSON, each of which keeps one until it is answered", 1, 512)
    max_in_flight: int = _setting(
        96, "most pictures of one model that are worked on at the same time; the others wait for their turn", 1, 4096
    )
    queue_target_ms: int = _setting(
        250,
        "how long pictures may wait when more is asked than can be answered, milliseconds",
        1,
        60_000,
    )
    max_batch_rows: int = _setting(32, "most pictures in one call to the model server", 1, 1024)
    target_batch_ms: int = _setting(100, "how much its rows may add to the time of one call, milliseconds", 1, 60_000)
    max_batches_in_flight: int = _setting(2, "calls for one version at the same time", 1, 64)
    max_body_bytes: int = _setting(32 * 1024 * 1024, "largest request body, bytes", 1024, 2**31 - 1)
    max_held_bytes: int = _setting(256 * 1024 * 1024, "most bytes of request bodies held at the same time", 1024, 2**40)
    max_image_bytes: int = _setting(20 * 1024 * 1024, "largest encoded picture, bytes", 64, 2**31 - 1)
    max_image_pixels: int = _setting(50_000_000, "largest picture, width x height, checked before decoding", 1, 10**9)
    max_decode_bytes: int = _setting(
        512 * 1024 * 1024, "most bytes of memory for the pictures that are decoded at the same time", 2**24, 2**40
    )
    max_images: int = _setting(64, "most pictures in one request", 1, 4096)
    max_rows: int = _setting(4096, "most rows of one :predict", 1, 2**31 - 1)
    max_answer_bytes: int = _setting(
        32 * 1024 * 1024, "largest answer to one :predict or infer, bytes", 1024, 2**31 - 1
    )
    request_timeout_ms: int = _setting(10_000, "time for a request that asks for none, milliseconds", 1, 600_000)
    max_request_timeout_ms: int = _setting(60_000, "most that X-Request-Timeout-Ms may ask for", 1, 600_000)
    tokens_file: Path | None = _setting(None, "the file of the tokens that callers must show; unset: everyone may call")
    admin_port: int = _setting(
        0, "TCP port for /metrics and the admin routes alone; 0: they are on HEADWAY_PORT", 0, 65535
    )
    cors_origins: str = _setting(
        "", "origins whose pages may call, as in https://a.example,https://b.example; *: all; empty: none"
    )
    drain_seconds: int = _setting(20, "how long requests in flight may finish after SIGTERM, seconds", 1, 600)
    log_level: str = _setting("info", "debug, info, warning or error")
    log_format: str = _setting("text", "text, for people, or json: one object a line, for whoever collects logs")
    access_log: bool = _setting(False, "write one JSON line for each classification to stderr: true or false")
    access_log_share: float = _setting(
        1.0, "of the classifications that were answered, the share that leaves a line; all others leave one", 0, 1
    )
    slo_seconds: float = _setting(
        0.25, "time in which classifications shall be answered: an edge of headway_request_seconds", 0.001, 60
    )
    supervision_file: Path | None = _setting(
        None, "file in which headway serve says how its children do, for /metrics; unset: nobody says it"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "GatewaySettings":
        """Read the variables. Raises :class:`InvalidSettings` naming every one that cannot be used."""
        values: dict[str, Any] = {}
        problems = []
        for item in fields(cls):
            text = environment.get(PREFIX + item.name.upper())
            if text is None or (not text and item.default == ""):
                continue
            try:
                values[item.name] = _parse(text, Path if item.default is None else type(item.default), item.metadata)
            except ValueError as error:
                problems.append(f"{PREFIX}{item.name.upper()}={text!r}: {error} ({item.metadata['doc']})")
        settings = cls(**values)
        if settings.log_level not in ("debug", "info", "warning", "error"):
            problems.append(f"{PREFIX}LOG_LEVEL={settings.log_level!r}: must be debug, info, warning or error")
        if settings.log_format not in ("text", "json"):
            problems.append(f"{PREFIX}LOG_FORMAT={settings.log_format!r}: must be text or json")
        rest = settings.model_server_rest
        if rest and not _is_origin(rest):
            problems.append(f"{PREFIX}MODEL_SERVER_REST={rest!r}: must be http://HOST:PORT, or empty for none")
        if settings.routes and not _CONFIG_MAP.fullmatch(settings.routes):
            problems.append(f"{PREFIX}ROUTES={settings.routes!r}: must be kubernetes:NAMESPACE/NAME, or empty for none")
        for origin in settings.origins - {"*"}:
            if not _WEB_ORIGIN.fullmatch(origin):
                problems.append(
                    f"{PREFIX}CORS_ORIGINS={settings.cors_origins!r}: {origin!r} is not an origin; write scheme, host "
                    "and port alone, as in https://a.example,https://b.example:8443, or * for all"
                )
        if settings.admin_port == settings.port:
            problems.append(f"{PREFIX}ADMIN_PORT='{settings.admin_port}': is HEADWAY_PORT too; choose another, or 0")
        if problems:
            raise InvalidSettings("\n".join(problems))
        return settings

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call; ``*``: all."""
        return frozenset(each.strip() for each in self.cors_origins.split(",") if each.strip())


def known_variables() -> list[str]:
    """The names of the variables that settings are read from."""
    return [PREFIX + item.name.upper() for item in fields(GatewaySettings)]


def _is_origin(text: str) -> bool:
    found = _HTTP_ORIGIN.fullmatch(text)
    return found is not None and 1 <= int(found.group(2)) <= 65535


def _parse(text: str, kind: type, bounds: Mapping[str, Any]) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    if not text:
        raise ValueError("is empty")
    if kind not in (int, float):
        return kind(text)
    value = kind(text)
    if not bounds["low"] <= value <= bounds["high"]:
        raise ValueError(f"must be between {bounds['low']} and {bounds['high']}")
    return value
