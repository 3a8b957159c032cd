"""Section 4, the table of routes, the HTTP codes, and what surrounds a body: gzip, CORS, connections."""

import gzip
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest
from tests.integration.modelserver.repository_files import config_list

PREDICT = "/v1/models/half:predict"


def rows(*values: Any) -> Any:
    return {"instances": list(values)}


@pytest.mark.parametrize("path", ["/", "/v2/models/half", "/v1", "/monitoring", "/v1x/models/half"])
def test_4_anything_not_v1_is_404_in_html(server: ServerUnderTest, path: Any) -> None:
    reply = server.http("GET", path)
    assert reply.status == 404
    assert b"<TITLE>404 Not Found</TITLE>" in reply.body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/"),
        ("GET", "/v1/models/half/extra"),
        ("GET", "/v1/models/half/versions/x"),
        ("GET", "/v1/models/half/versions/1/labels/x"),
        ("GET", PREDICT),
        ("POST", "/v1/models/half"),
        ("POST", "/v1/models/half:forecast"),
        ("POST", "/v1/models:predict"),
        ("PUT", PREDICT),
        ("DELETE", "/v1/models/half"),
        ("PATCH", PREDICT),
    ],
)
def test_4_other_v1_and_wrong_verbs_are_malformed(server: ServerUnderTest, method: Any, path: Any) -> None:
    reply = server.http(method, path)
    assert (reply.status, reply.error) == (400, f"Malformed request: {method} {path}")
    assert reply.headers["Content-Type"] == "application/json"


def test_4_head_is_malformed_and_has_no_body(server: ServerUnderTest) -> None:
    reply = server.http("HEAD", "/v1/models/half")
    assert (reply.status, reply.body) == (400, b"")


def test_4_get_models_lacks_a_name(server: ServerUnderTest) -> None:
    reply = server.http("GET", "/v1/models")
    assert (reply.status, reply.error) == (400, "Missing model name in request.")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_4_version_greater_than_int64_has_an_empty_body(server: ServerUnderTest, method: Any) -> None:
    path = f"/v1/models/half/versions/{1 << 63}"
    reply = server.http(method, path + (":predict" if method == "POST" else ""))
    assert (reply.status, reply.body) == (400, b"")


@pytest.mark.parametrize(("origin", "status"), [({"Origin": "http://here"}, 200), ({"Origin": "here"}, 400), ({}, 400)])
def test_4_options_depends_on_the_origin(server: ServerUnderTest, origin: Any, status: Any) -> None:
    reply = server.http("OPTIONS", PREDICT, **origin)
    assert (reply.status, reply.body) == (status, b"")


def test_4_routes_know_no_case(server: ServerUnderTest) -> None:
    assert server.http("GET", "/V1/Models/half").status == 200
    assert server.http("POST", "/v1/MODELS/half:PREDICT", rows([2.0])).json == {"predictions": [[2.0 / 2 + 2]]}


def test_4_a_query_is_part_of_what_is_matched(server: ServerUnderTest) -> None:
    path = f"{PREDICT}?x=1"
    reply = server.http("POST", path, rows([1.0]))
    assert (reply.status, reply.error) == (400, f"Malformed request: POST {path}")
    reply = server.http("GET", "/v1/models/half?x")
    assert (reply.status, reply.error) == (404, "Could not find any versions of model half?x")


def test_4_names_are_percent_decoded(server: ServerUnderTest) -> None:
    assert server.http("GET", "/v1/models/%68alf").status == 200
    reply = server.http("GET", "/v1/models/a%20b%2Fc")
    assert reply.error == "Could not find any versions of model a b/c"


def test_4_versions_and_labels_choose_the_version(
    start: StartServer, conformance_repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "models.config"
    labelled = 'name: "half" model_version_policy { all {} } version_labels { key: "old" value: 1 }'
    config.write_text(config_list(conformance_repository, labelled))
    server = start(f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")
    server.wait_until_ready()
    for place, value in (("", 2.5), ("/versions/1", 1.5), ("/versions/2", 2.5), ("/labels/old", 1.5)):
        reply = server.http("POST", f"/v1/models/half{place}:predict", rows([1.0]))
        assert reply.json == {"predictions": [[value]]}, place
    reply = server.http("POST", "/v1/models/half/labels/new:predict", rows([1.0]))
    assert (reply.status, reply.error) == (400, "Unrecognized servable version label: new")
    reply = server.http("POST", "/v1/models/half/versions/9:predict", rows([1.0]))
    assert (reply.status, reply.error) == (404, "Servable not found for request: Specific(half, 9)")


def test_4_error_bodies_are_pretty_printed_json(server: ServerUnderTest) -> None:
    reply = server.http("POST", "/v1/models/nope:predict", rows(1.0))
    assert reply.status == 404
    assert reply.body == b'{\n    "error": "Servable not found for request: Latest(nope)"\n}'
    assert reply.headers["Content-Type"] == "application/json"


def test_4_error_texts_are_not_cut(server: ServerUnderTest) -> None:
    reply = server.http("GET", f"/v1/models/{'n' * 3000}")
    assert reply.error == "Could not find any versions of model " + "n" * 3000


def test_4_deadline_exceeded_is_504(start: StartServer, conformance_config: Path) -> None:
    server = start(f"--model_config_file={conformance_config}", "--rest_api_timeout_in_ms=300")
    server.wait_until_ready()
    reply = server.http("POST", "/v1/models/spin:predict", {"inputs": 2_000_000_000})
    assert reply.status == 504
    assert server.http("POST", "/v1/models/spin:predict", {"inputs": 3}).json == {"outputs": 3}


def test_4_failed_precondition_is_400_and_unimplemented_501(server: ServerUnderTest) -> None:
    unconvertible = {"signature_name": "float16", "inputs": [1.0]}
    assert server.http("POST", "/v1/models/values:predict", unconvertible).status == 501
    assert server.http("POST", PREDICT, {"signature_name": "S", "inputs": 1}).status == 400


def test_4_request_bodies_may_be_gzip_and_replies_are_not(server: ServerUnderTest) -> None:
    body = gzip.compress(json.dumps(rows([1.0])).encode())
    reply = server.http("POST", PREDICT, body, Content_Encoding="gzip", Accept_Encoding="gzip")
    assert reply.json == {"predictions": [[2.5]]}
    assert "Content-Encoding" not in reply.headers


def test_4_a_gzip_body_is_bounded_when_unpacked(server: ServerUnderTest) -> None:
    if server.program.name == "real":
        pytest.skip("the real server takes a body that is too large for an empty one")
    most = 10 << 20
    body = json.dumps(rows([1.0])).encode().ljust(most)
    assert server.http("POST", PREDICT, gzip.compress(body), Content_Encoding="gzip").status == 200
    reply = server.http("POST", PREDICT, gzip.compress(body + b" "), Content_Encoding="gzip")
    assert (reply.status, reply.error) == (
        413,
        "A gzip body may have 10485760 bytes when unpacked. Send larger ones as they are.",
    )


def test_4_a_body_that_is_no_gzip_counts_as_empty(server: ServerUnderTest) -> None:
    reply = server.http("POST", PREDICT, json.dumps(rows([1.0])), Content_Encoding="gzip")
    assert (reply.status, reply.error) == (400, "JSON Parse error: The document is empty")


def test_4_cors_headers_come_with_every_reply_when_enabled(
    start: StartServer, conformance_config: Path, server: ServerUnderTest
) -> None:
    enabled = start(f"--model_config_file={conformance_config}", "--rest_api_enable_cors_support=true")
    enabled.wait_until_ready()
    expected = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type",
    }
    for method, path in (("GET", "/v1/models/half"), ("GET", "/v1/models/nope"), ("OPTIONS", PREDICT)):
        assert expected.items() <= dict(enabled.http(method, path, Origin="http://here").headers).items()
        assert not expected.keys() & server.http(method, path).headers.keys()


def test_4_a_connection_serves_many_requests(server: ServerUnderTest) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    sockets = set()
    for value in (1.0, "x", 3.0):
        connection.request("POST", PREDICT, json.dumps(rows([value])))
        reply = connection.getresponse()
        assert reply.status == (400 if value == "x" else 200)
        reply.read()
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


def test_4_chunked_bodies_are_read(server: ServerUnderTest) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    pieces = (piece.encode() for piece in ('{"instan', 'ces": [[1.0', "]]}"))
    connection.request("POST", PREDICT, pieces, encode_chunked=True)
    assert json.loads(connection.getresponse().read()) == {"predictions": [[2.5]]}
    connection.close()


def test_4_large_bodies_pass_both_ways(server: ServerUnderTest) -> None:
    values = np.arange(600_000, dtype=np.float64)
    sent = {"signature_name": "float64", "inputs": values.tolist()}
    reply = server.http("POST", "/v1/models/values:predict", sent)
    assert len(reply.body) > 8_000_000
    assert np.array_equal(reply.json["outputs"], values)


def test_1_rest_listens_on_ipv4_and_ipv6(server: ServerUnderTest) -> None:
    hosts = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    for host in hosts:
        connection = http.client.HTTPConnection(host, server.rest_port, timeout=60)
        connection.request("GET", "/v1/models/half")
        assert connection.getresponse().status == 200
        connection.close()
