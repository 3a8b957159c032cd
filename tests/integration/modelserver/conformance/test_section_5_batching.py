"""Section 5: requests joined into batches."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.conformance.batch_models import save_probe
from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.request_messages import classification_request, regression_request
from tests.integration.modelserver.conformance.server_under_test import HttpReply, Program, ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request, refusal
from tests.integration.modelserver.tiny_models import save_examples
from tests.support.waiting import eventually

THREADS = "max_enqueued_batches { value: 4 } num_batch_threads { value: 2 }"
# Requests that a test sends together fill a batch, which then runs at once: so they may wait for each other.
PATIENT = f"batch_timeout_micros {{ value: 60000000 }} {THREADS}"
# A batch that is not full runs at once.
QUICK = f"batch_timeout_micros {{ value: 10000 }} {THREADS}"
PADDING = (
    "max_batch_size { value: 16 } max_execution_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
    "allowed_batch_sizes: 4 allowed_batch_sizes: 8 pad_variable_length_inputs: true"
)
FOREVER = 2_000_000_000


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of a model that shows how its rows were batched."""
    base_path = tmp_path_factory.mktemp("probe")
    save_probe(base_path / "1")
    return base_path


def parameters(folder: Path, text: str) -> list[str]:
    """Return the flags that turn batching on with these BatchingParameters."""
    file = folder / "batching.config"
    file.write_text(text)
    return ["--enable_batching", f"--batching_parameters_file={file}", "--max_num_load_retries=0"]


@pytest.fixture(scope="module")
def batching(program: Program, probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUnderTest]:
    """Batches of 2 rows that wait for each other; nothing is padded."""
    flags = parameters(tmp_path_factory.mktemp("batching"), f"max_batch_size {{ value: 2 }} {PATIENT}")
    with ServerUnderTest(program, f"--model_base_path={probe}", *flags) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def padding(program: Program, probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUnderTest]:
    """Batches of 4 or 8 rows that wait for nothing; requests of up to 16 rows are split."""
    flags = parameters(tmp_path_factory.mktemp("padding"), f"{PADDING} {QUICK}")
    with ServerUnderTest(program, f"--model_base_path={probe}", *flags) as running:
        yield running.wait_until_ready()


def together(server: ServerUnderTest, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send Predict requests at the same time; returns their outputs."""
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda request: server.stubs.predict("default", **request), requests))


def rows(*values: float) -> dict[str, Any]:
    return {"inputs": {"x": np.array(values, np.float32).reshape(-1, 1)}}


def refused_together(server: ServerUnderTest, requests: Sequence[dict[str, Any]]) -> list[str]:
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda request: refusal(server.stubs.predict, "default", **request), requests))


def test_requests_are_joined_on_dimension_0_and_replies_split_again(batching: ServerUnderTest) -> None:
    replies = together(batching, [rows(1), rows(2)])
    assert [reply["rows"].tolist() for reply in replies] == [[2], [2]]
    assert [reply["x"].tolist() for reply in replies] == [[[1]], [[2]]]


def test_a_batch_that_is_not_full_runs_after_batch_timeout_micros(
    start: StartServer, probe: Path, tmp_path: Path
) -> None:
    text = f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: 1500000 }} {THREADS}"
    server = start(f"--model_base_path={probe}", *parameters(tmp_path, text)).wait_until_ready()
    began = time.monotonic()
    assert server.stubs.predict("default", **rows(7))["rows"].tolist() == [1]
    assert time.monotonic() - began >= 1.5, "no earlier"


def test_different_output_filters_do_not_batch_together(batching: ServerUnderTest) -> None:
    def batch_of_two(*output_filter: str) -> list[Any]:
        request = predict_request("default", rows(1)["inputs"])
        request.output_filter.extend(output_filter)
        return [batching.stubs.prediction.Predict.future(request) for _ in range(2)]

    # Two of a kind fill a batch. Met by one of the other kind, a third would wait alone for a minute.
    calls = [*batch_of_two(), *batch_of_two("rows")]
    assert [sorted(call.result(timeout=30).outputs) for call in calls] == [["rows", "total", "x"]] * 2 + [["rows"]] * 2


def test_signatures_of_one_version_batch_apart_and_each_answers_its_own(batching: ServerUnderTest) -> None:
    requests = [{**rows(value), "signature": signature} for value in (1, 2) for signature in ("", "doubled")]
    first, first_doubled, second, second_doubled = together(batching, requests)
    assert (first["total"].tolist(), second["total"].tolist()) == ([3], [3])
    assert (first_doubled["doubled"].tolist(), second_doubled["doubled"].tolist()) == ([[2]], [[4]])


def test_task_larger_than_max_batch_size(batching: ServerUnderTest) -> None:
    refused = refusal(batching.stubs.predict, "default", **rows(1, 2, 3, 4, 5))
    assert refused == "INVALID_ARGUMENT: Task size 5 is larger than maximum input batch size 2"


def test_scalar_input(batching: ServerUnderTest) -> None:
    refused = refusal(batching.stubs.predict, "default", {"n": np.int32(1)}, signature="slow")
    assert refused == "INVALID_ARGUMENT: Batching Run() input tensors must have at least one dimension"


def test_inputs_of_unequal_dim_0(batching: ServerUnderTest) -> None:
    inputs = {"a": np.array([1, 2], np.float32), "b": np.array([1], np.float32)}
    refused = refusal(batching.stubs.predict, "default", inputs, signature="pair")
    assert refused == "INVALID_ARGUMENT: Batching Run() input tensors must have equal 0th-dimension size"


def test_unequal_other_dims_with_padding_off_fail_the_whole_batch(batching: ServerUnderTest) -> None:
    requests = [{"inputs": {"x": np.ones([1, length], np.float32)}} for length in (2, 3)]
    for refused in refused_together(batching, requests):
        assert refused.startswith("FAILED_PRECONDITION: Tensors with name 'serving_default_x:0' from different tasks ")
        assert "have different shapes and padding is turned off." in refused


def test_model_output_of_no_dimension(batching: ServerUnderTest) -> None:
    refused = refusal(batching.stubs.predict, "default", **rows(1, 2), signature="scalar")
    assert refused == "FAILED_PRECONDITION: Batched output tensor has 0 dimensions"


def test_model_output_not_batched(batching: ServerUnderTest) -> None:
    refused = refusal(batching.stubs.predict, "default", **rows(1, 2), signature="first")
    assert refused == (
        "FAILED_PRECONDITION: Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
        "sizes of the input tensors"
    )


def test_sizes_are_padded_to_the_next_allowed_one_with_the_last_tasks_first_row(padding: ServerUnderTest) -> None:
    reply = padding.stubs.predict("default", **rows(5, 1, 1))
    assert (reply["rows"].tolist(), reply["total"].tolist()) == ([4, 4, 4], [12, 12, 12])


def test_variable_dims_are_padded_with_the_first_element(start: StartServer, probe: Path, tmp_path: Path) -> None:
    server = start(f"--model_base_path={probe}", *parameters(tmp_path, f"{PADDING} {PATIENT}")).wait_until_ready()
    requests = [{"inputs": {"x": np.full([4, length], length, np.float32)}} for length in (2, 3)]
    short, long = together(server, requests)
    assert short["x"].tolist() == [[2, 2, 2]] * 4
    assert long["x"].tolist() == [[3, 3, 3]] * 4
    assert long["rows"].tolist() == [8] * 4


def test_large_batch_splitting_runs_parts_of_max_execution_batch_size(padding: ServerUnderTest) -> None:
    reply = padding.stubs.predict("default", **rows(*range(13)))
    assert reply["x"].ravel().tolist() == list(range(13))
    assert set(reply["rows"].tolist()) == {8}, "13 rows run as 8 and as 5, padded to 8"
    assert len(set(reply["total"].tolist())) == 2
    refused = refusal(padding.stubs.predict, "default", **rows(*range(17)))
    assert refused == "INVALID_ARGUMENT: Task size 17 is larger than maximum input batch size 16"


def test_queue_full(start: StartServer, probe: Path, tmp_path: Path) -> None:
    text = (
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 } "
        "batch_timeout_micros { value: 0 }"
    )
    server = start(f"--model_base_path={probe}", *parameters(tmp_path, text)).wait_until_ready()
    slow = predict_request("default", {"n": np.array([FOREVER], np.int32)}, signature="slow")
    # Whichever comes first runs, another may wait; for the rest, two at least, there is no room.
    calls = [server.stubs.prediction.Predict.future(slow, timeout=120) for _ in range(4)]
    eventually(lambda: sum(call.done() for call in calls) >= 2, "two of four are refused")
    for refused in (call for call in calls if call.done()):
        assert f"{refused.code().name}: {refused.details()}" == (
            "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 1 batches "
            "enqueued and max_enqueued_batches is 1"
        )
    assert sum(not call.done() for call in calls) >= 1, "one runs"


def test_all_tasks_timed_out_in_the_queue(start: StartServer, probe: Path, tmp_path: Path) -> None:
    flags = parameters(tmp_path, "max_batch_size { value: 1 } num_batch_threads { value: 1 }")
    server = start(f"--model_base_path={probe}", "--rest_api_timeout_in_ms=200", *flags).wait_until_ready()
    slow = predict_request("default", {"n": np.array([FOREVER], np.int32)}, signature="slow")
    body = {"signature_name": "slow", "instances": [FOREVER]}

    def second_of_two() -> HttpReply:
        """Send a REST request while another has the only thread; that may come first, or be over, all the same."""
        running = server.stubs.prediction.Predict.future(slow, timeout=4)
        reply = server.http("POST", "/v1/models/default:predict", body)
        running.cancel()
        return reply

    replies = (second_of_two() for _ in range(20))
    reply = next(reply for reply in replies if reply.status != 504)
    assert (reply.status, reply.error) == (429, "Run() timeout exceeded while waiting in batching queue")


def test_rest_and_grpc_requests_meet_in_a_batch(batching: ServerUnderTest) -> None:
    with ThreadPoolExecutor() as threads:
        rest = threads.submit(batching.http, "POST", "/v1/models/default:predict", {"instances": [{"x": [1]}]})
        over_grpc = batching.stubs.predict("default", **rows(2))
        assert rest.result(timeout=60).json == {"predictions": [{"x": [1.0], "rows": 2, "total": 3.0}]}
    assert over_grpc["total"].tolist() == [3]


def test_classify_and_regress_are_batched_too(start: StartServer, tmp_path: Path) -> None:
    save_examples(tmp_path / "examples" / "1")
    flags = parameters(tmp_path, f"max_batch_size {{ value: 2 }} {QUICK}")
    server = start(f"--model_base_path={tmp_path / 'examples'}", "--model_name=examples", *flags).wait_until_ready()
    stub = server.stubs.prediction
    scores = stub.Classify(classification_request("scores", 0.25, 0.5)).result.classifications
    assert [[each.score for each in row.classes] for row in scores] == [[0.75, 0.25], [0.5, 0.5]]
    assert [row.value for row in stub.Regress(regression_request("regress", 0.25, 0.5)).result.regressions] == [2.5, 5]
    too_many = (0.1, 0.2, 0.3)
    for refused in (
        refusal(stub.Classify, classification_request("scores", *too_many)),
        refusal(stub.Regress, regression_request("regress", *too_many)),
    ):
        assert refused == "INVALID_ARGUMENT: Task size 3 is larger than maximum input batch size 2"


def test_batching_parameters_file_without_enable_batching(start: StartServer, probe: Path, tmp_path: Path) -> None:
    _, file, *_ = parameters(tmp_path, "")
    server = start(f"--model_base_path={probe}", file)
    assert server.exit_status() == 255
    assert server.stdout == (
        "Failed to start server. Error: INVALID_ARGUMENT: server_options.batching_parameters_file is set without "
        "setting server_options.enable_batching to true.\n"
    )


def test_last_allowed_batch_size_other_than_max_batch_size(start: StartServer, probe: Path, tmp_path: Path) -> None:
    text = "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
    server = start(f"--model_base_path={probe}", *parameters(tmp_path, text))
    assert server.exit_status() == 255
    assert (
        "due to error: INVALID_ARGUMENT: Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
        "4; expected 8"
    ) in server.stdout


def test_enable_batching_without_a_file_batches_with_the_defaults(start: StartServer, probe: Path) -> None:
    server = start(f"--model_base_path={probe}", "--enable_batching").wait_until_ready()
    assert server.stubs.predict("default", **rows(*range(1000)))["rows"].tolist() == [1000] * 1000
    refused = refusal(server.stubs.predict, "default", **rows(*range(1001)))
    assert refused == "INVALID_ARGUMENT: Task size 1001 is larger than maximum input batch size 1000"


def test_enable_per_model_batching_parameters(start: StartServer, tmp_path: Path) -> None:
    base_path = tmp_path / "default"
    save_probe(base_path / "1")
    save_probe(base_path / "2")
    (base_path / "2" / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "default" base_path: "{base_path}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    flags = ["--enable_batching", "--enable_per_model_batching_parameters", f"--model_config_file={config}"]
    server = start(*flags).wait_until_ready()
    refused = refusal(server.stubs.predict, "default", **rows(1, 2, 3), version=2)
    assert refused == "INVALID_ARGUMENT: Task size 3 is larger than maximum input batch size 2"
    first = server.stubs.predict("default", **rows(1, 2, 3), signature="scalar", version=1)
    assert first["total"] == 6, "the version without the file is not batched"
