"""The gateway's variables are parsed, bounded, and refused all at once."""

from dataclasses import fields
from pathlib import Path

import pytest

from headway_serving.settings import GatewaySettings, InvalidSettings

GOOD = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "model_server": ("dns:///model-server:8500", "dns:///model-server:8500"),
    "model_server_rest": ("http://model-server:8501", "http://model-server:8501"),
    "model_server_socket": ("/run/model-server.sock", Path("/run/model-server.sock")),
    "routes_file": ("/etc/headway/routes.json", Path("/etc/headway/routes.json")),
    "routes": ("kubernetes:headway/headway-routes", "kubernetes:headway/headway-routes"),
    "routes_poll_seconds": ("2.5", 2.5),
    "threads": ("4", 4),
    "max_in_flight": ("9", 9),
    "queue_target_ms": ("100", 100),
    "max_batch_rows": ("16", 16),
    "target_batch_ms": ("50", 50),
    "max_batches_in_flight": ("3", 3),
    "max_body_bytes": ("1048576", 1_048_576),
    "max_held_bytes": ("4194304", 4_194_304),
    "max_image_bytes": ("65536", 65_536),
    "max_image_pixels": ("1000000", 1_000_000),
    "max_decode_bytes": ("67108864", 67_108_864),
    "max_images": ("8", 8),
    "max_rows": ("100", 100),
    "max_answer_bytes": ("65536", 65_536),
    "request_timeout_ms": ("500", 500),
    "max_request_timeout_ms": ("5000", 5000),
    "tokens_file": ("/etc/headway/tokens.json", Path("/etc/headway/tokens.json")),
    "admin_port": ("9001", 9001),
    "cors_origins": ("https://a.example", "https://a.example"),
    "drain_seconds": ("5", 5),
    "log_level": ("warning", "warning"),
    "access_log": ("true", True),
    "access_log_share": ("0.01", 0.01),
    "log_format": ("json", "json"),
    "slo_seconds": ("0.1", 0.1),
    "supervision_file": ("children.json", Path("children.json")),
}
NAMES = [item.name for item in fields(GatewaySettings)]


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_is_read_from_its_variable(name: str) -> None:
    text, value = GOOD[name]
    settings = GatewaySettings.from_environment({f"HEADWAY_{name.upper()}": text})
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(getattr(GatewaySettings(), name)) or name in (
        "routes_file",
        "tokens_file",
        "model_server_socket",
        "supervision_file",
    )
    untouched = [other for other in NAMES if other != name]
    assert all(getattr(settings, other) == getattr(GatewaySettings(), other) for other in untouched)


def test_without_variables_the_defaults_hold_and_others_variables_do_not_matter() -> None:
    assert GatewaySettings.from_environment({"PORT": "1", "HEADWAY_URL": "http://x"}) == GatewaySettings()


@pytest.mark.parametrize(
    ("variable", "text", "must"),
    [
        ("PORT", "http", "int"),
        ("PORT", "", "is empty"),
        ("PORT", "0", "between 1 and 65535"),
        ("PORT", "65536", "between 1 and 65535"),
        ("PORT", "80.5", "int"),
        ("MAX_BODY_BYTES", "1", "between 1024 and 2147483647"),
        ("ROUTES_POLL_SECONDS", "0", "between 0.05 and 60"),
        ("ROUTES_POLL_SECONDS", "nan", "between 0.05 and 60"),
        ("ROUTES_POLL_SECONDS", "inf", "between 0.05 and 60"),
        ("ACCESS_LOG", "yes", "must be true or false"),
        ("ACCESS_LOG", "", "must be true or false"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("ROUTES_FILE", "", "is empty"),
        ("HOST", "", "is empty"),
        ("MODEL_SERVER_REST", "model-server:8501", "must be http://HOST:PORT"),
        ("MODEL_SERVER_REST", "https://model-server:8501", "must be http://HOST:PORT"),
        ("MODEL_SERVER_REST", "http://model-server:8501/v1", "must be http://HOST:PORT"),
        ("MODEL_SERVER_REST", "http://model-server:99999", "must be http://HOST:PORT"),
        ("MODEL_SERVER_REST", "http://me@model-server:8501", "must be http://HOST:PORT"),
        ("TOKENS_FILE", "", "is empty"),
        ("ADMIN_PORT", "-1", "between 0 and 65535"),
        ("ADMIN_PORT", "8080", "is HEADWAY_PORT too"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(variable: str, text: str, must: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        GatewaySettings.from_environment({f"HEADWAY_{variable}": text})
    assert f"HEADWAY_{variable}={text!r}" in str(caught.value)
    assert must in str(caught.value)


@pytest.mark.parametrize("origin", ["", "http://[::1]:8501", "http://10.0.0.1:80"])
def test_the_rest_port_may_be_any_origin_or_none(origin: str) -> None:
    assert GatewaySettings.from_environment({"HEADWAY_MODEL_SERVER_REST": origin}).model_server_rest == origin


def test_every_bad_variable_is_named_at_once() -> None:
    bad = {"HEADWAY_PORT": "x", "HEADWAY_THREADS": "-1", "HEADWAY_ACCESS_LOG": "maybe", "HEADWAY_LOG_LEVEL": "loud"}
    with pytest.raises(InvalidSettings) as caught:
        GatewaySettings.from_environment(bad)
    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == list(bad)
