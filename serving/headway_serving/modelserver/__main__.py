"""``headway-model-server``: TensorFlow Serving's command line for the embedded server."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys

from headway_serving.adapters.logs.setup import configure, wants_json
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.process import flags, lean_tensorflow
from headway_serving.modelserver.process.termination import Termination

FAILURE = 255
"""TensorFlow Serving returns -1 from main."""

logger = logging.getLogger(__name__)


def main() -> int:
    """Run the server with the arguments of the process; returns its exit status, 0 or 255."""
    _log_to_stderr()
    usage = flags.usage(sys.argv[0])
    try:
        command_line = flags.parse(sys.argv[1:])
    except flags.FlagError as error:
        logger.error("%s", error)
        sys.stdout.write(usage)
        return FAILURE
    if command_line.show_help:
        sys.stdout.write(usage)
        return FAILURE
    if command_line.show_version:
        sys.stdout.write(_versions())
        return 0
    if command_line.unknown:
        sys.stdout.write(f"unknown argument: {command_line.unknown[0]}\n{usage}")
        sys.stdout.flush()
    try:
        _serve(command_line)
    except StatusError as error:
        sys.stdout.write(f"Failed to start server. Error: {error}\n")
        return FAILURE
    return 0


def _serve(command_line: flags.CommandLine) -> None:
    for name in command_line.ignored:
        logger.warning("flag --%s is not supported by the embedded server and is ignored", name)
    if command_line.profiler:
        logger.info("tensorflow.ProfilerService, which --enable_profiler stands for, is not served")
    if command_line.refused:
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"flag --{command_line.refused[0]} is not supported by the embedded server, which would serve without "
            "encryption or authentication. Leave the flag out, or use the tensorflow_model_server binary.",
        )
    termination = Termination()
    lean_tensorflow.install()
    from headway_serving.modelserver import server  # noqa: PLC0415  (imports TensorFlow: only now, and lean)

    if not termination.requested:
        server.run(command_line.options, termination)


def _versions() -> str:
    server, library = importlib.metadata.version("headway"), importlib.metadata.version("tensorflow")
    return f"TensorFlow ModelServer: {server} (Headway, embedded)\nTensorFlow Library: {library}\n"


def _log_to_stderr() -> None:
    if wants_json(os.environ):
        configure("model server", as_json=True, level="info")
    else:
        _log_as_tensorflow_serving()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # gRPC writes a traceback for every request that is no message of its type. Its sender gets INTERNAL.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)


def _log_as_tensorflow_serving() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.addLevelName(level, logging.getLevelName(level)[0])
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s serving: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
