"""The flags that the real `tensorflow_model_server` 2.20 knows, from its main.cc.

It does not stop for one that it does not know, and ignores `--name value`: a typing error would pass unnoticed.
"""

_NAMES = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
    enable_batching batching_parameters_file enable_per_model_batching_parameters
    allow_version_labels_for_unavailable_models model_config_file model_config_file_poll_wait_seconds
    model_name model_base_path num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism tensorflow_session_config_file
    per_process_gpu_memory_fraction saved_model_tags platform_config_file ssl_config_file use_alts_credentials
    grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup
    monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
    xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision
    skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""
FLAGS = frozenset(_NAMES.split())


def flag_values(arguments: list[str]) -> dict[str, str]:
    """Return `--name=value` arguments as a mapping; ValueError for any that the real server would not take."""
    values = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or name not in FLAGS:
            raise ValueError(f"{argument}: not a --name=value flag of tensorflow_model_server")
        values[name] = value
    return values
