"""Section 7: the metrics page on the REST port, its names, labels, buckets, and what is counted."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.request_messages import (
    classification_request,
    multi_inference_request,
    regression_request,
)
from tests.integration.modelserver.conformance.server_under_test import Program, ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request, refusal

PATH = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"
LATENCY_LIMITS = (
    "10 18 32.4 58.32 104.976 188.957 340.122 612.22 1102 1983.59 3570.47 6426.84 11568.3 20823 37481.3 67466.4 "
    "121440 218591 393464 708235 1.27482e+06"
)
X = {"x": np.array([[1.0], [2.0]], np.float32)}


def page(server: ServerUnderTest) -> str:
    return server.http("GET", PATH).body.decode()


def samples(server: ServerUnderTest, metric: str) -> dict[str, float]:
    """Return the samples of a metric by what stands in their braces."""
    found = re.findall(rf"^{re.escape(metric)}{{(.*)}} (\S+)$", page(server), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def limits(server: ServerUnderTest, metric: str, labels: str) -> list[str]:
    found = [re.fullmatch(rf'{re.escape(labels)},?le="(.*)"', key) for key in samples(server, f"{metric}_bucket")]
    return [match[1] for match in found if match]


@pytest.fixture(scope="module")
def used(program: Program, conformance_config: Path, monitoring_config: Path) -> Iterator[ServerUnderTest]:
    """A server after a known set of requests."""
    flags = [f"--model_config_file={conformance_config}", f"--monitoring_config_file={monitoring_config}"]
    with ServerUnderTest(program, *flags) as server:
        server.wait_until_ready()
        prediction = server.stubs.prediction
        for _ in range(3):
            prediction.Predict(predict_request("half", X))
        prediction.Classify(classification_request("classify", 0, 1))
        prediction.Regress(regression_request("regress", 0, 1, 2))
        prediction.MultiInference(multi_inference_request(("shared", "regress", "regress")))
        refusal(prediction.Predict, predict_request("half", X, signature="S"))
        refusal(prediction.Predict, predict_request("nope", X))
        refusal(prediction.Classify, classification_request("S", 1))
        refusal(prediction.Regress, regression_request("S", 1))
        server.stubs.metadata("half", "signature_def")
        refusal(server.stubs.metadata, "half", "weights")
        server.stubs.states("half")
        server.http("POST", "/v1/models/half:predict", {"instances": [[1.0]]})
        server.http("POST", "/v1/models/half:predict", {"instances": []})
        server.http("GET", "/v1/models/half")
        server.http("GET", "/v1/models/half/metadata")
        server.http("POST", "/v1/models/shared:regress", {"examples": [{"x": 1.0}]})
        server.http("POST", "/v1/models/shared:classify", {"signature_name": "classify", "examples": [{"x": 1.0}]})
        server.http("GET", "/v1/models/nope2")
        yield server


def test_7_off_without_monitoring_config_file(start: StartServer, conformance_config: Path) -> None:
    server = start(f"--model_config_file={conformance_config}").wait_until_ready()
    assert server.http("GET", PATH).status == 404


@pytest.mark.parametrize(
    ("config", "path", "status"),
    [
        ("prometheus_config { enable: true }", PATH, 200),
        ('prometheus_config { enable: true path: "/m" }', "/m", 200),
        ('prometheus_config { enable: false path: "/m" }', "/m", 404),
        ("", PATH, 404),
    ],
    ids=["default path", "own path", "not enabled", "empty"],
)
def test_7_monitoring_config_enables_it_and_may_name_the_path(
    start: StartServer,
    saved_models: Path,
    publish: Callable[[str, str, int], Path],
    tmp_path: Path,
    config: Any,
    path: Any,
    status: Any,
) -> None:
    version = publish("half_plus_1", "half", 1)
    (tmp_path / "monitoring.config").write_text(config)
    monitoring = f"--monitoring_config_file={tmp_path / 'monitoring.config'}"
    server = start(f"--model_base_path={version.parent}", monitoring).wait_until_ready()
    assert server.http("GET", path).status == status


def test_7_only_effective_with_rest(
    start: StartServer, saved_models: Path, publish: Callable[[str, str, int], Path], tmp_path: Path
) -> None:
    version = publish("half_plus_1", "half", 1)
    server = start(f"--model_base_path={version.parent}", "--monitoring_config_file=/nowhere", "--rest_api_port=0")
    assert server.wait_until_ready().stubs.states("default") == [(1, "AVAILABLE")]


def test_7_the_page_is_plain_text_with_types_and_no_help(used: ServerUnderTest) -> None:
    reply = used.http("GET", PATH)
    assert reply.headers["Content-Type"] == "text/plain"
    # Behind TensorFlow Serving's metrics the embedded server has a few of its own, which do have help.
    lines = [line for line in reply.body.decode().splitlines() if "headway_server_" not in line]
    assert all(
        re.fullmatch(r"# TYPE :[A-Za-z0-9_:]+ (counter|histogram|gauge)|:[a-zA-Z0-9_:]+{.*} \S+", line)
        for line in lines
    )


def test_7_the_embedded_servers_own_metrics_say_what_is_loaded(used: ServerUnderTest) -> None:
    states = samples(used, "headway_server_version_state")
    if not states:
        pytest.skip("not the embedded server")
    assert states['model="half",version="1",state="AVAILABLE"'] == 1
    assert len(samples(used, "headway_server_build_info")) == 1
    # promtool reads the page, and has nothing against what is ours; TensorFlow Serving's names have colons and no help.
    promtool = shutil.which("promtool")
    if promtool is not None:
        linted = subprocess.run(
            [promtool, "check", "metrics"], input=page(used), capture_output=True, text=True, check=False
        )
        assert linted.returncode in (0, 3), linted.stderr
        assert "headway_server_" not in linted.stderr + linted.stdout


def test_7_a_query_string_is_an_unexpected_path(used: ServerUnderTest) -> None:
    reply = used.http("GET", f"{PATH}?x=1")
    assert (reply.status, reply.body.decode()) == (400, f"Unexpected path: {PATH}?x=1. Should be {PATH}")


TYPES = {
    "request_count": "counter",
    "request_latency": "histogram",
    "runtime_latency": "histogram",
    "request_example_counts": "histogram",
    "request_example_count_total": "counter",
    "request_log_count": "counter",
    "model_warmup_latency": "histogram",
    "model_warmup_records_read": "counter",
    "batching_session:queuing_latency": "histogram",
    "batching_session:wrapped_run_count": "counter",
    "batching_session:padding_size": "histogram",
    "batching_session:input_batch_size": "histogram",
    "batching_session:processed_batch_size": "histogram",
    "mlmd_map": "gauge",
}


@pytest.mark.parametrize(("name", "kind"), TYPES.items())
def test_7_names_and_types(used: ServerUnderTest, name: Any, kind: Any) -> None:
    assert page(used).count(f"# TYPE {PREFIX}{name} {kind}\n") == 1


def test_7_request_count(used: ServerUnderTest) -> None:
    assert samples(used, f"{PREFIX}request_count") == {
        'model_name="half",status="OK"': 3 + 3,
        'model_name="half",status="FAILED_PRECONDITION"': 1,
        'model_name="half",status="INVALID_ARGUMENT"': 1,
        'model_name="nope",status="NOT_FOUND"': 1,
        'model_name="nope2",status="NOT_FOUND"': 1,
        'model_name="examples",status="OK"': 2,
        'model_name="examples",status="INVALID_ARGUMENT"': 2,
        'model_name="shared",status="OK"': 2,
    }


def test_7_request_latency_of_successes_by_api_and_entrypoint(used: ServerUnderTest) -> None:
    assert samples(used, f"{PREFIX}request_latency_count") == {
        'model_name="half",API="Predict",entrypoint="GRPC"': 3,
        'model_name="examples",API="Classify",entrypoint="GRPC"': 1,
        'model_name="examples",API="Regress",entrypoint="GRPC"': 1,
        'model_name="half",API="predict",entrypoint="REST"': 1,
        'model_name="half",API="",entrypoint="REST"': 2,
        'model_name="shared",API="regress",entrypoint="REST"': 1,
        'model_name="shared",API="classify",entrypoint="REST"': 1,
    }
    sums = samples(used, f"{PREFIX}request_latency_sum")
    assert all(10 < total < 60e6 for total in sums.values()), "microseconds"


def test_7_latency_buckets(used: ServerUnderTest) -> None:
    for metric, labels in (
        ("request_latency", 'model_name="half",API="Predict",entrypoint="GRPC"'),
        ("runtime_latency", 'model_name="half",API="Predict",runtime="TF1"'),
    ):
        found = limits(used, f"{PREFIX}{metric}", labels)
        assert len(found) == 34
        assert " ".join(found).startswith(LATENCY_LIMITS)
        assert found[-2:] == ["1.47476e+09", "+Inf"]


def test_7_buckets_are_cumulative_up_to_the_count(used: ServerUnderTest) -> None:
    labels = 'model_name="half",API="Predict",entrypoint="GRPC"'
    buckets = samples(used, f"{PREFIX}request_latency_bucket")
    counts = [count for key, count in buckets.items() if key.startswith(labels)]
    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_7_runtime_latency(used: ServerUnderTest) -> None:
    assert samples(used, f"{PREFIX}runtime_latency_count") == {
        'model_name="half",API="Predict",runtime="TF1"': 4,
        'model_name="examples",API="Classify",runtime="TF1"': 1,
        'model_name="examples",API="Regress",runtime="TF1"': 1,
        'model_name="shared",API="Regress",runtime="TF1"': 1,
        'model_name="shared",API="Classify",runtime="TF1"': 1,
    }


def test_7_request_example_counts(used: ServerUnderTest) -> None:
    assert samples(used, f"{PREFIX}request_example_count_total") == {'model="examples"': 2 + 3, 'model="shared"': 3}
    assert samples(used, f"{PREFIX}request_example_counts_count") == {'model="examples"': 2, 'model="shared"': 3}
    found = limits(used, f"{PREFIX}request_example_counts", 'model="examples"')
    assert found == [*(str(2**power) for power in range(15)), "+Inf"]


def test_7_batching_metrics(
    start: StartServer, conformance_config: Path, monitoring_config: Path, tmp_path: Path
) -> None:
    (tmp_path / "batching.config").write_text("allowed_batch_sizes: 4 max_batch_size { value: 4 }")
    server = start(
        f"--model_config_file={conformance_config}",
        f"--monitoring_config_file={monitoring_config}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching.config'}",
    )
    server.wait_until_ready()
    before = samples(server, f"{PREFIX}batching_session:wrapped_run_count").get("", 0)
    server.stubs.predict("half", {"x": np.ones([3, 1], np.float32)})
    assert samples(server, f"{PREFIX}batching_session:wrapped_run_count")[""] == before + 1
    queuing = f"{PREFIX}batching_session:queuing_latency"
    assert samples(server, f"{queuing}_count")['thread_pool_name=""'] >= 1
    found = limits(server, queuing, 'thread_pool_name=""')
    assert (len(found), found[:4], found[-1]) == (53, ["100", "120", "144", "172.8"], "+Inf")
    sizes = [*(str(2**power) for power in range(14)), "+Inf"]
    for metric, labels in (
        ("padding_size", 'execution_batch_size="4"'),
        ("input_batch_size", ""),
        ("processed_batch_size", ""),
    ):
        assert samples(server, f"{PREFIX}batching_session:{metric}_count")[labels] >= 1, metric
        assert limits(server, f"{PREFIX}batching_session:{metric}", labels) == sizes, metric


def test_7_load_metrics(used: ServerUnderTest, conformance_repository: Path) -> None:
    half = conformance_repository / "half" / "2"
    attempts = samples(used, ":tensorflow:cc:saved_model:load_attempt_count")
    assert attempts[f'model_path="{half}",status="success"'] == 1
    assert samples(used, ":tensorflow:cc:saved_model:load_latency")[f'model_path="{half}"'] > 0


def test_7_label_values_are_escaped(used: ServerUnderTest) -> None:
    used.http("GET", "/v1/models/a%22b%5Cc")
    assert 'model_name="a\\"b\\\\c",status="NOT_FOUND"' in samples(used, f"{PREFIX}request_count")
