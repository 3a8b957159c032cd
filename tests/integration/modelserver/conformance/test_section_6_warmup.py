"""Section 6: the requests in assets.extra/tf_serving_warmup_requests."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import prediction_log_pb2

from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.request_messages import (
    classification_request,
    multi_inference_request,
    regression_request,
)
from tests.integration.modelserver.conformance.server_under_test import Program, ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request, refusal
from tests.integration.modelserver.repository_files import config_list

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


# A reload waits for, and tells the errors of, models of new names only.
numbers = itertools.count()


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """A version that counts its runs, without warm-up requests yet: version 1 of a model of a new name."""
    version = tmp_path / f"counting_{next(numbers)}" / "1"
    tiny_models.save_counting(version)
    return version


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A version that classifies and regresses, without warm-up requests yet."""
    version = tmp_path / f"shared_{next(numbers)}" / "1"
    tiny_models.save_shared_input(version)
    return version


@pytest.fixture(scope="module")
def reloadable(
    program: Program, tmp_path_factory: pytest.TempPathFactory, monitoring_config: Path
) -> Iterator[ServerUnderTest]:
    """A server without models, for tests that load theirs by a reload. Failed loads are not retried."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text("model_config_list {}")
    flags = [f"--model_config_file={config}", "--max_num_load_retries=0"]
    with ServerUnderTest(program, *flags, f"--monitoring_config_file={monitoring_config}") as running:
        yield running.wait_until_ready()


def load(server: ServerUnderTest, version: Path) -> None:
    server.stubs.reload(config_list(version.parents[1], version.parent.name))


def load_refused(server: ServerUnderTest, version: Path) -> str:
    """Return the error that version 1 of a model ends with, without the reload's frame around it."""
    name = version.parent.name
    refused = refusal(server.stubs.reload, config_list(version.parents[1], name))
    frame = f"UNKNOWN: 1 model(s) did not become available: {{{{{{name: {name} version: 1}} due to error: "
    assert refused.startswith(frame)
    assert server.stubs.states(name) == [(1, "END")]
    return refused.removeprefix(frame).removesuffix("}, }")


def runs(server: ServerUnderTest, name: str) -> int:
    return int(server.stubs.predict(name, {}, signature="read")["count"])


def add(n: int, signature: str = "", name: str = "") -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(name, {"n": np.array([n], np.int32)}, signature=signature))
    return log.SerializeToString()


def test_6_on_by_default_and_run_before_the_version_is_available(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1), add(10)])
    load(reloadable, counting)
    assert runs(reloadable, counting.parent.name) == 11


def test_6_an_absent_file_is_fine(reloadable: ServerUnderTest, counting: Path) -> None:
    load(reloadable, counting)
    assert runs(reloadable, counting.parent.name) == 0


def test_6_can_be_switched_off(start: StartServer, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1)])
    server = start("--model_name=counting", f"--model_base_path={counting.parent}", "--enable_model_warmup=false")
    assert runs(server.wait_until_ready(), "counting") == 0


def test_6_each_record_runs_num_request_iterations_times(start: StartServer, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1), add(10)])
    flags = ["--model_name=counting", f"--model_base_path={counting.parent}", "--num_request_iterations_for_warmup=3"]
    assert runs(start(*flags).wait_until_ready(), "counting") == 33


def test_6_the_records_model_is_not_looked_at_and_its_signature_is(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1, name="another")])
    load(reloadable, counting)
    assert runs(reloadable, counting.parent.name) == 1


def test_6_the_records_signature_is_looked_at(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1, signature="S")])
    assert load_refused(reloadable, counting) == 'FAILED_PRECONDITION: Serving signature key "S" not found.'


def test_6_every_kind_of_request_is_run(reloadable: ServerUnderTest, shared: Path) -> None:
    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    examples = np.array([classification_request("", 1).input.example_list.examples[0].SerializeToString()], object)
    logs[0].predict_log.request.CopyFrom(predict_request("", {"inputs": examples}, signature="classify"))
    logs[1].classify_log.request.CopyFrom(classification_request("classify", 1, name=""))
    logs[2].regress_log.request.CopyFrom(regression_request("regress", 1, name=""))
    multi = multi_inference_request(("shared", "classify", "classify"), ("shared", "regress", "regress"))
    logs[3].multi_inference_log.request.CopyFrom(multi)
    tiny_models.write_warmup(shared, [log.SerializeToString() for log in logs])
    load(reloadable, shared)
    page = reloadable.http("GET", "/monitoring/prometheus/metrics").body.decode()
    assert f':tensorflow:serving:model_warmup_records_read{{model_path="{shared}",status="OK"}} 4' in page


@pytest.mark.parametrize(("kind", "field"), [("session_run_log", 5), ("predict_streamed_log", 7)])
def test_6_streamed_and_session_run_records_are_unimplemented(
    reloadable: ServerUnderTest, counting: Path, kind: Any, field: Any
) -> None:
    log = prediction_log_pb2.PredictionLog()
    getattr(log, kind).SetInParent()
    tiny_models.write_warmup(counting, [log.SerializeToString()])
    assert load_refused(reloadable, counting) == f"UNIMPLEMENTED: Unsupported log_type for warmup: {field}"


@pytest.mark.parametrize("kind", ["classify_log", "regress_log", "multi_inference_log"])
def test_6_any_failing_record_fails_the_load(reloadable: ServerUnderTest, shared: Path, kind: Any) -> None:
    request = {
        "classify_log": classification_request("classify"),
        "regress_log": regression_request("regress"),
        "multi_inference_log": multi_inference_request(("shared", "regress", "regress"), values=()),
    }[kind]
    log = prediction_log_pb2.PredictionLog()
    getattr(log, kind).request.CopyFrom(request)
    tiny_models.write_warmup(shared, [log.SerializeToString()])
    assert load_refused(reloadable, shared) == "INVALID_ARGUMENT: Input is empty."


def test_6_a_failing_load_is_retried(start: StartServer, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1, signature="S")])
    flags = ["--max_num_load_retries=2", "--load_retry_interval_micros=0"]
    server = start(f"--model_base_path={counting.parent}", *flags)
    assert server.exit_status() == 255
    assert 'Serving signature key "S" not found.' in server.stdout
    if server.program.name == "embedded":
        assert server.stderr.count("failed: FAILED_PRECONDITION: Serving signature key") == 3


def test_6_more_than_1000_records(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1)] * 1001)
    expected = f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {counting / WARMUP_FILE}"
    assert load_refused(reloadable, counting) == expected


def test_6_1000_records_are_not_too_many(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1)] * 1000)
    load(reloadable, counting)
    assert runs(reloadable, counting.parent.name) == 1000


def test_6_unparsable_record(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [b"\xff\xff"])
    assert load_refused(reloadable, counting).startswith("INVALID_ARGUMENT: Failed to parse warmup record: ")


def test_6_no_tfrecord_file(reloadable: ServerUnderTest, counting: Path) -> None:
    path = counting / WARMUP_FILE
    path.parent.mkdir()
    path.write_bytes(b"these bytes are no TFRecord file")
    refused = load_refused(reloadable, counting)
    assert refused.startswith("DATA_LOSS: ")
    assert refused.endswith(". Please verify your warmup data is in TFRecord format.")


def test_6_records_run_on_the_batched_session(
    start: StartServer, saved_models: Path, publish: Callable[[str, str, int], Path], tmp_path: Path
) -> None:
    version = publish("half_plus_1", "half", 1)
    tiny_models.write_warmup(version, [tiny_models.predict_record("x", np.ones([2, 1], np.float32))])
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 1 }")
    flags = ["--enable_batching", f"--batching_parameters_file={parameters}", "--max_num_load_retries=0"]
    server = start(f"--model_base_path={version.parent}", *flags)
    if server.program.name == "real":
        assert server.exit_status() == 255
        assert "Task size 2 is larger than maximum input batch size 1" in server.stdout
        return
    # Ours passes over what no request can have, so that an export loads with any size of batches.
    server.wait_until_ready()
    assert "is passed over: Task size 2 is larger than maximum input batch size 1" in server.stderr


def test_6_metrics_of_warmup(reloadable: ServerUnderTest, counting: Path) -> None:
    tiny_models.write_warmup(counting, [add(1), add(1)])
    load(reloadable, counting)
    page = reloadable.http("GET", "/monitoring/prometheus/metrics").body.decode()
    labels = f'model_path="{counting}",status="OK"'
    assert f":tensorflow:serving:model_warmup_records_read{{{labels}}} 2" in page
    assert f":tensorflow:serving:model_warmup_latency_count{{{labels}}} 1" in page
