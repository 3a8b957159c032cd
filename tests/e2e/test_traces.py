"""One trace id, from the client's header over the answer, the log line and the exemplar to the model server's span."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Trained
from tests.e2e.running import serving
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.otlp_receiver import receiving
from tests.support.waiting import eventually

pytest.importorskip("opentelemetry.sdk", reason="no OpenTelemetry here; pip install 'headway[tracing]'")

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("socket", [True, False], ids=["socket", "grpc"])
def test_a_trace_is_followed_everywhere(trained: Trained, tmp_path: Path, socket: bool) -> None:
    picture, errors = trained.samples[HEAD][0].read_bytes(), tmp_path / "errors"
    with receiving(tmp_path) as receiver:
        environment = receiver.environment(
            HEADWAY_LOG_FORMAT="json", HEADWAY_ACCESS_LOG="true", OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0",
        )  # fmt: skip
        repository = copied(trained, tmp_path)
        # By a form: those are answered in threads, which ask by gRPC.
        body: dict[str, Any] = {"content": picture} if socket else {"files": {"image": picture}}
        kind = {"Content-Type": "image/png"} if socket else {}
        with serving(repository.root, tmp_path / "log", environment=environment, errors=errors) as served:
            url = f"{served.url}/v1/models/{HEAD}:classify"
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1", **kind}
            answer = httpx.post(url, headers=headers, timeout=30, **body)
            assert answer.status_code == 200
            _, trace, request_span, flags = answer.headers["traceparent"].split("-")
            assert (trace, flags) == (TRACE, "01")
            assert "traceparent" not in httpx.post(url, headers=kind, timeout=30, **body).headers

            page = httpx.get(f"{served.url}/metrics", headers={"Accept": "application/openmetrics-text"}).text
            buckets = [line for line in page.splitlines() if line.startswith("headway_request_seconds_bucket")]
            assert any(f'# {{trace_id="{TRACE}"}}' in line for line in buckets)
            lines = [json.loads(line) for line in errors.read_text().splitlines()]
            assert [line["model"] for line in lines if line.get("trace_id") == TRACE] == [HEAD]
            eventually(
                lambda: (
                    {each["service"] for each in receiver.spans(TRACE)} == {"headway-gateway", "headway-model-server"}
                ),
                "both processes have sent their spans",
            )
            eventually(lambda: any(s["name"] == f"classify {HEAD}" for s in receiver.spans(TRACE)), "the request too")
        spans = {each["span_id"]: each for each in receiver.spans(TRACE)}
        assert {each["trace_id"] for each in receiver.spans()} == {TRACE}, "nothing else was sampled"
    request = spans[request_span]
    assert (request["name"], request["parent"], request["state"]) == (f"classify {HEAD}", SPAN, "vendor=1")
    assert request["attributes"]["headway.code"] == "ok"
    stages = {each.split()[0] for each in request["attributes"]["headway.stages_ms"].split(", ")}
    assert stages >= {"read", "queue", "decode", "preprocess", "predict", "rank"}
    assert "predict" in {each["name"] for each in spans.values() if each["parent"] == request_span}
    of_server = [each for each in spans.values() if each["service"] == "headway-model-server"]
    assert of_server
    for each in of_server:
        call = spans[each["parent"]]
        assert call["parent"] == request_span
        assert call["attributes"]["headway.transport"] == ("local" if socket else "grpc")
        assert call["began"] <= each["ended"] <= call["ended"] + 5_000_000
