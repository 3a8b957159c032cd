"""What the command line says about gRPC is read, or refused, before any model is loaded."""

from pathlib import Path

import pytest

from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.grpc.server import channel_arguments
from headway_serving.modelserver.grpc.tls import server_credentials


def test_channel_arguments_are_numbers_where_they_read_as_int32() -> None:
    text = "grpc.max_connection_age_ms=5000,a=x=y,,b=-1,c=2147483648,d="
    assert channel_arguments(text) == [
        ("grpc.max_connection_age_ms", 5000),
        ("a", "x=y"),
        ("b", -1),
        ("c", "2147483648"),
        ("d", ""),
    ]
    assert channel_arguments("") == []


def test_a_channel_argument_without_a_value_is_refused() -> None:
    with pytest.raises(StatusError, match="must be key=value separated by commas; got nonsense"):
        channel_arguments("a=1,nonsense")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server_key: 'k'", "must hold the PEM texts of server_key and server_cert"),
        ("server_key: 'k' server_cert: 'c' client_verify: true", "sets client_verify, which needs the PEM text of "),
        ("server_keys: 'k'", "Invalid protobuf file: "),
    ],
)
def test_an_ssl_config_that_cannot_protect_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "ssl.config"
    file.write_text(text)
    with pytest.raises(StatusError, match=complaint) as caught:
        server_credentials(file)
    assert str(file) in caught.value.message


def test_an_absent_ssl_config_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(StatusError) as caught:
        server_credentials(tmp_path / "absent")
    assert str(caught.value) == f"NOT_FOUND: {tmp_path}/absent; No such file or directory"
