"""The command line is read as TensorFlow Serving reads it."""

from typing import Any

import pytest

from headway_serving.modelserver.process import flags
from headway_serving.modelserver.process.flag_table import ServerOptions


def test_no_arguments_give_tensorflow_serving_defaults() -> None:
    options = flags.parse([]).options
    assert options == ServerOptions()
    assert (options.port, options.model_name, options.max_num_load_retries) == (8500, "default", 5)
    assert options.load_retry_interval_micros == 60_000_000
    assert options.enable_model_warmup


def test_values_follow_an_equals_sign_and_the_last_one_counts() -> None:
    options = flags.parse(["--port=1", "--model_name=a=b", "--port=2"]).options
    assert (options.port, options.model_name) == (2, "a=b")


def test_a_value_in_the_next_argument_is_no_value() -> None:
    command_line = flags.parse(["--port", "9000"])
    assert command_line.options.port == 8500
    assert command_line.unknown == ("--port", "9000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("=true", True), ("=TRUE", True), ("=false", False), ("=False", False)],
)
def test_a_boolean_stands_alone_or_is_true_or_false(text: Any, expected: Any) -> None:
    assert flags.parse([f"--enable_model_warmup{text}"]).options.enable_model_warmup is expected


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--port=80x", "Couldn't interpret value 80x for flag port."),
        ("--port=", "Couldn't interpret value  for flag port."),
        ("--port=8.5", "Couldn't interpret value 8.5 for flag port."),
        ("--port=2147483648", "Couldn't interpret value 2147483648 for flag port."),
        ("--enable_model_warmup=yes", "Couldn't interpret value yes for flag enable_model_warmup."),
        ("--enable_batchingX", "Couldn't interpret value X for flag enable_batching."),
        ("--per_process_gpu_memory_fraction=half", "Couldn't interpret value half for flag "),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(argument: Any, complaint: Any) -> None:
    with pytest.raises(flags.FlagError) as caught:
        flags.parse([argument])
    assert complaint in str(caught.value)


def test_unknown_arguments_are_reported_and_skipped() -> None:
    command_line = flags.parse(["serve", "--prot=1", "--port=2", "--", "--port=3"])
    assert command_line.options.port == 2
    assert command_line.unknown == ("serve", "--prot=1", "--", "--port=3")


def test_help_counts_only_as_the_first_unknown_argument() -> None:
    assert flags.parse(["--port=1", "--help"]).show_help
    assert not flags.parse(["x", "--help"]).show_help


def test_flags_of_the_real_server_are_accepted_and_named_when_they_have_no_effect() -> None:
    command_line = flags.parse(["--skip_initialize_tpu", "--enable_batching=false", "--enable_profiler=false"])
    assert command_line.unknown == ()
    assert command_line.ignored == ("skip_initialize_tpu",)


def test_the_profiler_is_asked_for_unless_a_flag_says_otherwise() -> None:
    assert flags.parse([]).profiler
    assert flags.parse(["--enable_profiler"]).profiler
    assert not flags.parse(["--enable_profiler=false"]).profiler


def test_a_flag_that_promises_security_it_cannot_give_is_refused() -> None:
    assert flags.parse(["--use_alts_credentials"]).refused == ("use_alts_credentials",)


def test_usage_shows_every_flag_with_its_default_and_type() -> None:
    text = flags.usage("headway-model-server")
    assert text.startswith("usage: headway-model-server\nFlags:\n")
    assert '\t--model_name="default"' in text
    assert "\t--enable_model_warmup=true" in text
    assert "\t--load_retry_interval_micros=60000000\tint64\t" in text
