"""Builds the model server from its options and runs it until it is asked to stop.

The port opens only after every configured model has a version that serves: an open port means ready. On
SIGTERM or SIGINT new requests are refused, those that run may end within the grace period, and the server ends.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from pathlib import Path

from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from headway_contract.model_manifest import BFLOAT16
from headway_contract.processor import bfloat16_obstacle_here
from headway_serving.adapters.tracing.setup import TracingUnavailable, open_tracing
from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.batching.batched_model import Batching, BatchTask, LoadedModel
from headway_serving.modelserver.batching.parameters import BatchingParameters, read_batching_parameters
from headway_serving.modelserver.batching.scheduler import BatchScheduler
from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.grpc.server import AddService, GrpcServer
from headway_serving.modelserver.grpc.service import ModelService, PredictionService
from headway_serving.modelserver.inference import Inference, Tracing
from headway_serving.modelserver.local.server import LocalServer
from headway_serving.modelserver.messages import ModelServerConfig
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.process.flag_table import CPUS, ServerOptions
from headway_serving.modelserver.process.monitoring import read_metrics_path
from headway_serving.modelserver.process.periodic_task import PeriodicTask
from headway_serving.modelserver.process.termination import Termination
from headway_serving.modelserver.rest.server import RestServer
from headway_serving.modelserver.rest.service import RestOptions, RestService
from headway_serving.modelserver.runtime.mixed_precision import MixedPrecision, mode_of
from headway_serving.modelserver.runtime.model_loader import ModelLoader
from headway_serving.modelserver.runtime.saved_model import SessionConfig, read_session_config
from headway_serving.modelserver.runtime.tflite import TfliteRuntime
from headway_serving.modelserver.versions.manager import RetryPolicy, VersionManager
from headway_serving.modelserver.versions.model_config import read_config_file, single_model_config
from headway_serving.modelserver.versions.server_core import ServerCore
from headway_serving.modelserver.versions.storage_watcher import StorageWatcher

logger = logging.getLogger(__name__)

_INITIAL_LOAD_THREADS = 4 * CPUS


def run(options: ServerOptions, termination: Termination) -> None:
    """Serve until ``termination`` is requested, then drain; returns when all has ended.

    Raises StatusError if the options contradict each other, a model fails to load, or the port is taken.
    """
    _check(options)
    server = GrpcServer(options)
    rest_options = _rest_options(options)
    metrics = ServerMetrics()
    isolate = options.isolate_models
    manager = VersionManager(
        _model_loader(options, metrics),
        _retry(options),
        unload_threads=options.num_unload_threads,
        isolate=isolate,
        on_failure=lambda name, number, error: metrics.load_failures.increment(name, str(number), error.code.name),
    )
    metrics.version_states.samples = lambda: [
        (name, str(status.number), status.state.name) for name in manager.models() for status in manager.statuses(name)
    ]
    watcher = StorageWatcher(
        manager.set_aspired, poll_wait_seconds=options.file_system_poll_wait_seconds, isolate=isolate
    )
    core = ServerCore(
        manager,
        watcher,
        allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        isolate=isolate,
    )
    termination.on_request(manager.stop)
    tracing = _tracing()
    # What was imported stays for ever; the collections after an unload need not look at it.
    gc.collect()
    gc.freeze()
    watcher.start()
    manager.start(load_threads=_INITIAL_LOAD_THREADS)
    try:
        core.reload(_initial_config(options))
        manager.set_load_threads(options.num_load_threads)
        _start_config_polling(options, core)
        inference = Inference(core, _predict_options(options), metrics, tracing)
        server.start(_services(core, inference, manager))
        local = _start_local(options, inference)
        rest = _start_rest(options, RestService(inference, rest_options))
    except StatusError:
        manager.stop()
        if not termination.requested:
            raise
    else:
        termination.wait()
        _drain(server, rest, local, options.shutdown_grace_seconds)
    watcher.stop()
    _end_now_if_busy(manager)


def _check(options: ServerOptions) -> None:
    if not options.port and not options.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if options.batching_parameters_file and not options.enable_batching:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    parallelism = (
        options.tensorflow_session_parallelism,
        options.tensorflow_intra_op_parallelism,
        options.tensorflow_inter_op_parallelism,
    )
    if min(parallelism) > 0:
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )


def _model_loader(options: ServerOptions, metrics: ServerMetrics) -> ModelLoader:
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if intra <= 0 and inter <= 0:
        intra = inter = options.tensorflow_session_parallelism
    session_config = options.tensorflow_session_config_file
    iterations = max(options.num_request_iterations_for_warmup, 1)
    return ModelLoader(
        tags=frozenset(options.saved_model_tags.split(",")),
        session=SessionConfig(
            intra_op_threads=intra,
            inter_op_threads=inter,
            gpu_memory_fraction=options.per_process_gpu_memory_fraction,
            base=read_session_config(Path(session_config)) if session_config else b"",
        ),
        mixed_precision=_mixed_precision(options),
        predict=_predict_options(options),
        warmup_iterations=iterations if options.enable_model_warmup else 0,
        metrics=metrics,
        batching=_batching(options, metrics) if options.enable_batching else None,
        tflite=_tflite(options) if options.prefer_tflite_model else None,
    )


def _mixed_precision(options: ServerOptions) -> MixedPrecision:
    mode, obstacle = mode_of(options.mixed_precision), bfloat16_obstacle_here()
    if mode == BFLOAT16:
        logger.info("Running inference with bfloat16 auto mixed precision")
        if obstacle is not None:
            logger.warning("flag --mixed_precision=%s does not pay: %s.", options.mixed_precision, obstacle)
    return MixedPrecision(mode, obstacle)


def _tflite(options: ServerOptions) -> TfliteRuntime:
    return TfliteRuntime(options.num_tflite_pools * options.num_tflite_interpreters_per_pool)


def _batching(options: ServerOptions, metrics: ServerMetrics) -> Batching:
    file = options.batching_parameters_file
    parameters = read_batching_parameters(Path(file)) if file else BatchingParameters()
    scheduler = BatchScheduler[BatchTask](parameters.num_batch_threads, parameters.thread_pool_name)
    return Batching(parameters, scheduler, per_model=options.enable_per_model_batching_parameters, metrics=metrics)


def _predict_options(options: ServerOptions) -> PredictOptions:
    return PredictOptions(
        check_method_name=options.enable_signature_method_name_check,
        reply_as_content=options.enable_serialization_as_tensor_content,
    )


def _retry(options: ServerOptions) -> RetryPolicy:
    return RetryPolicy(options.max_num_load_retries, options.load_retry_interval_micros / 1_000_000)


def _initial_config(options: ServerOptions) -> ModelServerConfig:
    if options.model_config_file:
        return read_config_file(Path(options.model_config_file))
    logger.info(
        "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
        options.model_name,
        options.model_base_path,
    )
    return single_model_config(options.model_name, options.model_base_path)


def _start_config_polling(options: ServerOptions, core: ServerCore[LoadedModel]) -> None:
    if not options.model_config_file or options.model_config_file_poll_wait_seconds <= 0:
        return

    def apply() -> None:
        try:
            config = read_config_file(Path(options.model_config_file))
        except StatusError as error:
            logger.error("Failed to read ModelServerConfig file: %s", error.message)
            return
        try:
            core.reload(config)
        except StatusError as error:
            logger.error("PollFilesystemAndReloadConfig failed to ReloadConfig: %s", error.message)

    seconds = options.model_config_file_poll_wait_seconds
    PeriodicTask(apply, period_seconds=seconds, name="config file watcher").start()


def _services(
    core: ServerCore[LoadedModel], inference: Inference, manager: VersionManager[LoadedModel]
) -> list[AddService]:
    prediction = PredictionService(inference, follows_traces=inference.tracing is not None)
    model = ModelService(core, inference, manager.wake)
    return [
        lambda server: prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server),
        lambda server: model_service_pb2_grpc.add_ModelServiceServicer_to_server(model, server),
    ]


def _tracing() -> Tracing | None:
    """Where spans go, if OpenTelemetry's variables say so; what keeps them from it is logged, and nothing else."""
    try:
        return open_tracing(os.environ, "headway-model-server")
    except TracingUnavailable as error:
        logger.error("no traces are recorded: %s", error)
        return None


def _rest_options(options: ServerOptions) -> RestOptions:
    file = options.monitoring_config_file
    return RestOptions(
        timeout_ms=options.rest_api_timeout_in_ms,
        cors=options.rest_api_enable_cors_support,
        metrics_path=read_metrics_path(Path(file)) if file and options.rest_api_port else None,
    )


def _start_rest(options: ServerOptions, service: RestService) -> RestServer | None:
    """Serve REST if it is asked for; a port that cannot be used is only logged, as in TensorFlow Serving."""
    if not options.rest_api_port:
        return None
    if options.rest_api_port == options.port:
        logger.error(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
            "Skipped exporting HTTP/REST API."
        )
        return None
    try:
        server = RestServer(service, options.bind_address, options.rest_api_port, options.rest_api_num_threads)
    except OSError as error:
        logger.error("Failed to start HTTP Server at localhost:%d (%s)", options.rest_api_port, error)
        return None
    server.start()
    return server


def _start_local(options: ServerOptions, inference: Inference) -> LocalServer | None:
    if not options.local_socket_path:
        return None
    local = LocalServer(Path(options.local_socket_path), inference)
    local.start()
    return local


def _drain(server: GrpcServer, rest: RestServer | None, local: LocalServer | None, grace_seconds: int) -> None:
    logger.info("Shutting down: running requests have %d s to end.", grace_seconds)
    until = time.monotonic() + grace_seconds
    if rest is not None:
        rest.refuse()
    if local is not None:
        local.refuse()
    server.stop(grace_seconds)
    if local is not None:
        local.wait_until_idle(until)
    if rest is not None:
        rest.wait_until_idle(until)


def _end_now_if_busy(manager: VersionManager[LoadedModel]) -> None:
    """End the process here if a run or a load has not ended: its thread would keep the process alive until it ends."""
    if manager.busy():
        logger.warning("A request or a load is cut off.")
        logging.shutdown()
        os._exit(0)
