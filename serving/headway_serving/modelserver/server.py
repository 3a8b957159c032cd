"""Builds the model server from its options and runs it until it is told to stop.

The port opens only after every configured model has a version that serves: an open port means ready. On
SIGTERM or SIGINT new requests are refused, those that run may end within the grace period, and the server ends.
"""

from __future__ import annotations

import gc
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.flag_table import CPUS, ServerOptions
from headway_serving.modelserver.grpc_service import ModelService, PredictionService
from headway_serving.modelserver.model_config import read_config_file, single_model_config
from headway_serving.modelserver.model_loader import ModelLoader
from headway_serving.modelserver.periodic_task import PeriodicTask
from headway_serving.modelserver.predict import PredictOptions
from headway_serving.modelserver.saved_model_runtime import SavedModel, SessionConfig
from headway_serving.modelserver.server_core import ServerCore
from headway_serving.modelserver.storage_watcher import StorageWatcher
from headway_serving.modelserver.termination import Termination
from headway_serving.modelserver.version_manager import RetryPolicy, VersionManager

logger = logging.getLogger(__name__)

_INT32_MAX = (1 << 31) - 1
_INITIAL_LOAD_THREADS = 4 * CPUS


def run(options: ServerOptions, termination: Termination) -> None:
    """Serve until `termination` is requested, then drain; returns when all has ended.

    Raises StatusError if the options contradict each other, a model fails to load, or the port is taken.
    """
    _check(options)
    manager = VersionManager(_model_loader(options), _retry(options), unload_threads=options.num_unload_threads)
    watcher = StorageWatcher(manager.set_aspired, poll_wait_seconds=options.file_system_poll_wait_seconds)
    core = ServerCore(
        manager, watcher, allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models
    )
    termination.on_request(manager.stop)
    # What was imported stays for ever; the collections after an unload need not look at it.
    gc.collect()
    gc.freeze()
    watcher.start()
    manager.start(load_threads=_INITIAL_LOAD_THREADS)
    try:
        core.reload(_initial_config(options))
        manager.set_load_threads(options.num_load_threads)
        _start_config_polling(options, core)
        server = _start_grpc(options, core, manager)
    except StatusError:
        manager.stop()
        if not termination.requested:
            raise
    else:
        termination.wait()
        _drain(server, options.shutdown_grace_seconds)
    watcher.stop()
    _end_now_if_busy(manager)


def _check(options: ServerOptions) -> None:
    if not options.port and not options.grpc_socket_path:
        raise invalid_argument("server_options.grpc_port is not set.")
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
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


def _model_loader(options: ServerOptions) -> ModelLoader:
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if intra <= 0 and inter <= 0:
        intra = inter = options.tensorflow_session_parallelism
    iterations = max(options.num_request_iterations_for_warmup, 1)
    return ModelLoader(
        tags=frozenset(options.saved_model_tags.split(",")),
        session=SessionConfig(intra_op_threads=intra, inter_op_threads=inter),
        predict=_predict_options(options),
        warmup_iterations=iterations if options.enable_model_warmup else 0,
    )


def _predict_options(options: ServerOptions) -> PredictOptions:
    return PredictOptions(
        check_method_name=options.enable_signature_method_name_check,
        reply_as_content=options.enable_serialization_as_tensor_content,
    )


def _retry(options: ServerOptions) -> RetryPolicy:
    return RetryPolicy(options.max_num_load_retries, options.load_retry_interval_micros / 1_000_000)


def _initial_config(options: ServerOptions) -> Any:
    if options.model_config_file:
        return read_config_file(Path(options.model_config_file))
    logger.info(
        "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
        options.model_name,
        options.model_base_path,
    )
    return single_model_config(options.model_name, options.model_base_path)


def _start_config_polling(options: ServerOptions, core: ServerCore[SavedModel]) -> None:
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


def _start_grpc(options: ServerOptions, core: ServerCore[SavedModel], manager: VersionManager[SavedModel]) -> Any:
    server = grpc.server(
        ThreadPoolExecutor(max(options.grpc_max_threads, 1), thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", _INT32_MAX),
            ("grpc.max_send_message_length", _INT32_MAX),
            # Two servers on one port would share the requests at random; the second must fail to start.
            ("grpc.so_reuseport", 0),
            *_channel_arguments(options.grpc_channel_arguments),
        ],
    )
    prediction = PredictionService(core, _predict_options(options))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core, manager.wake), server)
    places = [f"0.0.0.0:{options.port}"] if options.port else []
    if options.grpc_socket_path:
        places.append(f"unix:{options.grpc_socket_path}")
    for place in places:
        _listen(server, place)
    server.start()
    for place in places:
        shown = place.replace("unix:", "UNIX socket ")
        logger.info("Running gRPC ModelServer at %s ...", shown)
    return server


def _listen(server: Any, place: str) -> None:
    try:
        server.add_insecure_port(place)
    except RuntimeError as error:
        logger.error("Cannot listen on %s; is another process using it? (%s)", place, error)
        raise invalid_argument("Failed to BuildAndStart gRPC server") from error


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    arguments: list[tuple[str, int | str]] = []
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        try:
            arguments.append((key, int(value)))
        except ValueError:
            arguments.append((key, value))
    return arguments


def _drain(server: Any, grace_seconds: int) -> None:
    logger.info("Shutting down: running requests have %d s to end.", grace_seconds)
    server.stop(max(grace_seconds, 0)).wait()


def _end_now_if_busy(manager: VersionManager[SavedModel]) -> None:
    """End the process here if a run or a load goes on: its thread would keep the process alive until it ends."""
    if manager.busy():
        logger.warning("A request or a load is cut off.")
        logging.shutdown()
        os._exit(0)
