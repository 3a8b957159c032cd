"""Every command line flag as data: TensorFlow Serving's own, and the three that are ours.

One row per flag. A row says whether the embedded server honours the flag, accepts and ignores it (with a
warning), or refuses to start with it because ignoring it would be unsafe. Supporting one more flag means
turning its row and adding a field of the same name to ``ServerOptions``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The processors this process may use."""


class Kind(Enum):
    """The type of a flag's value, by the name the usage text shows."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float"
    STRING = "string"


class Support(Enum):
    """What the embedded server does with a flag that is given."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True)
class Flag:
    """One flag: its name without dashes, the type and default of its value, our support, one line of help."""

    name: str
    kind: Kind
    default: bool | int | float | str
    support: Support
    help: str


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The values of the honoured flags; field names are flag names, defaults are TensorFlow Serving's."""

    port: int = 8500
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int = 4 * CPUS
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    monitoring_config_file: str = ""
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: int = 1
    model_name: str = "default"
    model_base_path: str = ""
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    mixed_precision: str = ""
    saved_model_tags: str = "serve"
    prefer_tflite_model: bool = False
    num_tflite_pools: int = CPUS
    num_tflite_interpreters_per_pool: int = 1
    ssl_config_file: str = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = 4 * CPUS
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_signature_method_name_check: bool = False
    shutdown_grace_seconds: int = 10
    isolate_models: bool = False
    bind_address: str = ""
    local_socket_path: str = ""


def _honoured(name: str, kind: Kind, text: str) -> Flag:
    default = getattr(ServerOptions(), name)
    return Flag(name, kind, default, Support.HONOURED, text)


def _ignored(name: str, kind: Kind, default: bool | float | str, text: str) -> Flag:
    return Flag(name, kind, default, Support.IGNORED, text)


def _refused(name: str, kind: Kind, default: bool | float | str, text: str) -> Flag:
    return Flag(name, kind, default, Support.REFUSED, text)


BOOL, INT32, INT64, FLOAT, STRING = Kind

FLAGS: tuple[Flag, ...] = (
    _honoured("port", INT32, "TCP port for gRPC; 0 listens only on --grpc_socket_path"),
    _honoured("grpc_socket_path", STRING, "Unix socket for gRPC, beside or instead of the port"),
    _honoured("rest_api_port", INT32, "TCP port for the REST API; 0 means none"),
    _honoured("rest_api_num_threads", INT32, "threads of the REST API"),
    _honoured("rest_api_timeout_in_ms", INT32, "longest run for a REST request, in milliseconds"),
    _honoured("rest_api_enable_cors_support", BOOL, "send Access-Control headers with REST replies"),
    _honoured("enable_batching", BOOL, "join requests into batches"),
    _honoured("batching_parameters_file", STRING, "text BatchingParameters; needs --enable_batching"),
    _honoured("enable_per_model_batching_parameters", BOOL, "take them from batching_params.pbtxt beside a model"),
    _honoured("allow_version_labels_for_unavailable_models", BOOL, "let a new label name a version not yet loaded"),
    _honoured("model_config_file", STRING, "text ModelServerConfig; --model_name and its path are then unused"),
    _honoured("model_config_file_poll_wait_seconds", INT32, "seconds between readings of it; 0 reads it once"),
    _honoured("model_name", STRING, "name of the single model"),
    _honoured("model_base_path", STRING, "absolute path that holds the single model's version directories"),
    _honoured("num_load_threads", INT32, "threads that load versions; 0 loads one after the other"),
    _honoured("num_unload_threads", INT32, "threads that unload versions; 0 unloads one after the other"),
    _honoured("max_num_load_retries", INT32, "tries after a version's first failed load"),
    _honoured("load_retry_interval_micros", INT64, "microseconds between them; negative means no wait"),
    _honoured("file_system_poll_wait_seconds", INT32, "seconds between looks for versions; 0 looks once"),
    _ignored("flush_filesystem_caches", BOOL, True, "flush the file system's cache after loading"),
    _honoured("tensorflow_session_parallelism", INT64, "TensorFlow's threads, within and between ops; 0 is auto"),
    _honoured("tensorflow_intra_op_parallelism", INT64, "TensorFlow's threads within an op; 0 is auto"),
    _honoured("tensorflow_inter_op_parallelism", INT64, "TensorFlow's threads between ops; 0 is auto"),
    _honoured("tensorflow_session_config_file", STRING, "text ConfigProto: how TensorFlow runs graphs"),
    _honoured("per_process_gpu_memory_fraction", FLOAT, "share of a GPU's memory to use"),
    _honoured("saved_model_tags", STRING, "tags of the graph to load, separated by commas"),
    _ignored("platform_config_file", STRING, "", "text PlatformConfigMap"),
    _honoured("ssl_config_file", STRING, "text SSLConfig: serve gRPC over TLS"),
    _refused("use_alts_credentials", BOOL, False, "serve gRPC over ALTS"),
    _honoured("grpc_channel_arguments", STRING, "gRPC's own settings, as key=value separated by commas"),
    _honoured("grpc_max_threads", INT32, "threads that answer gRPC requests"),
    _honoured("enable_model_warmup", BOOL, "run a version's warm-up requests before it serves"),
    _honoured("num_request_iterations_for_warmup", INT32, "runs of each warm-up request; 0 means 1"),
    _honoured("monitoring_config_file", STRING, "text MonitoringConfig: metrics on the REST port"),
    _ignored("remove_unused_fields_from_bundle_metagraph", BOOL, True, "drop what serving does not need"),
    _honoured("prefer_tflite_model", BOOL, "serve model.tflite where there is one; needs ai-edge-litert"),
    _honoured("num_tflite_pools", INT32, "pools of TFLite interpreters"),
    _honoured("num_tflite_interpreters_per_pool", INT32, "interpreters in each pool"),
    _honoured("enable_signature_method_name_check", BOOL, "refuse signatures with a foreign method_name"),
    _ignored("xla_cpu_compilation_enabled", BOOL, False, "compile graphs with XLA on CPU"),
    _ignored("xla_gpu_compilation_enabled", BOOL, False, "compile graphs with XLA on GPU"),
    _ignored(
        "enable_profiler",
        BOOL,
        True,
        "serve tensorflow.ProfilerService; the start says that it is not served, unless false",
    ),
    _ignored("thread_pool_factory_config_file", STRING, "", "text ThreadPoolFactoryConfig"),
    _honoured("mixed_precision", STRING, "auto, off, or bfloat16: compute in it what bears it"),
    _ignored("skip_initialize_tpu", BOOL, False, "do not initialize TPUs"),
    _honoured("enable_grpc_healthcheck_service", BOOL, "serve grpc.health.v1.Health"),
    _honoured("enable_serialization_as_tensor_content", BOOL, "reply with tensor_content instead of typed fields"),
    _honoured("shutdown_grace_seconds", INT32, "after SIGTERM, seconds for running requests (not in TF Serving)"),
    _honoured("isolate_models", BOOL, "missing or broken models harm no other (not in TF Serving)"),
    _honoured("bind_address", STRING, "address to listen on; empty is every one (not in TF Serving)"),
    _honoured("local_socket_path", STRING, "Unix socket for Predict in plain frames (not in TF Serving)"),
    Flag("version", BOOL, False, Support.HONOURED, "print the versions and exit"),
)
"""In the order they are tried, which is TensorFlow Serving's: booleans match by prefix."""
