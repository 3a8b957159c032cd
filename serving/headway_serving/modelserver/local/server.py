"""Answers Predict on a Unix socket (:mod:`headway_serving.wire.local_frames`), a thread for each connection."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from pathlib import Path

from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import predict_pb2

from headway_serving.core import request_trace
from headway_serving.core.errors import without_frames
from headway_serving.core.request_trace import parse_traceparent
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument, text_for_client, unforeseen
from headway_serving.modelserver.inference import Inference
from headway_serving.wire.local_frames import ANSWER, MOST_BYTES, REQUEST

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_LONGEST_SECONDS = 10 * 365 * 24 * 3600
"""A call that has longer, or no number of seconds, has no end."""

_OWNER_ONLY = 0o600


class LocalServer:
    """Listens at ``path``, for the user whom the process belongs to alone."""

    def __init__(self, path: Path, inference: Inference) -> None:
        self._path, self._inference = path, inference
        self._listener = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        # Whether each connection has a call that is not answered.
        self._busy: dict[socket.socket, bool] = {}
        self._stopping = False

    def start(self) -> None:
        """Listen. Raises StatusError INVALID_ARGUMENT if the place cannot be used."""
        try:
            self._remove_stale()
            self._listener.bind(str(self._path))
            self._path.chmod(_OWNER_ONLY)
            self._listener.listen()
        except OSError as error:
            reason = error.strerror or error
            raise invalid_argument(f"--local_socket_path={self._path} cannot be used: {reason}") from error
        threading.Thread(target=self._accept, name="local", daemon=True).start()
        logger.info("Running local Predict at %s ...", self._path)

    def refuse(self) -> None:
        """Refuse new calls: their gateway asks over gRPC, which refuses them too."""
        self._stopping = True
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def wait_until_idle(self, until: float) -> None:
        """Wait for running calls until then on the monotonic clock, and close every connection."""
        while time.monotonic() < until and self._is_busy():
            time.sleep(_POLL_SECONDS)
        with self._lock:
            for connection in self._busy:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _is_busy(self) -> bool:
        with self._lock:
            return any(self._busy.values())

    def _remove_stale(self) -> None:
        """Remove what a server that was killed has left; one that still listens keeps its place."""
        if not self._path.is_socket():
            return
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self._path)) != 0:
                self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # No descriptor left, perhaps; others end, and who waits would else wait in vain.
                time.sleep(_POLL_SECONDS)
                continue
            with self._lock:
                self._busy[connection] = False
            try:
                threading.Thread(target=self._serve, args=(connection,), name="local", daemon=True).start()
            except RuntimeError:
                logger.exception("no thread for a local connection")
                self._forget(connection)
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while (head := _read(connection, REQUEST.size)) is not None:
                    size, seconds, trace_size = REQUEST.unpack(head)
                    if size > MOST_BYTES:
                        return
                    trace = _read(connection, trace_size) if trace_size else b""
                    message = _read(connection, size)
                    if message is None or trace is None:
                        return
                    self._busy[connection] = True
                    code, answer = self._answer(message, seconds, trace)
                    connection.sendall(ANSWER.pack(len(answer), code) + answer)
                    self._busy[connection] = False
        except OSError:
            return  # the gateway has gone
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            del self._busy[connection]

    def _answer(self, message: bytes, seconds: float, trace: bytes) -> tuple[Code, bytes]:
        started, error, model = time.perf_counter(), None, ""
        if self._stopping:
            return Code.UNAVAILABLE, b"the model server is shutting down"
        traceparent, _, state = trace.decode("latin-1").partition("\n")
        request_trace.begin(parse_traceparent(traceparent, state))
        try:
            request = predict_pb2.PredictRequest.FromString(message)
            model = request.model_spec.name
            timeout_ms = int(max(seconds, 0) * 1000) if seconds < _LONGEST_SECONDS else None
            response: Message = self._inference.predict(request, timeout_ms)
            return Code.OK, response.SerializeToString()
        except DecodeError:
            error = invalid_argument("the message is no PredictRequest")
        except StatusError as caught:
            error = without_frames(caught)
        except Exception as caught_otherwise:
            logger.exception("Predict failed unexpectedly")
            error = unforeseen(without_frames(caught_otherwise))
        finally:
            self._inference.count_request(model, "Predict", "LOCAL", started, error)
        return error.code, text_for_client(error).encode(errors="replace")


def _read(connection: socket.socket, size: int) -> bytes | None:
    """So many bytes; None at the end of the connection."""
    first = connection.recv(size)
    if len(first) == size:
        return first
    received = bytearray(first)
    while len(received) < size:
        piece = connection.recv(min(size - len(received), 1 << 20))
        if not piece:
            return None
        received += piece
    return bytes(received)
