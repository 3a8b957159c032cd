"""A model server of either kind as a process: the embedded one, or the real binary with the same command line."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.modelserver.model_server_process import Stubs
from tests.support.ports import free_port

BINARY_VARIABLE = "HEADWAY_TFSERVING_BINARY"
START_SECONDS = 90


@dataclass(frozen=True)
class Program:
    """How to start a server of one kind; `name` is "embedded" or "real"."""

    name: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


EMBEDDED = Program("embedded", (sys.executable, "-m", "headway_serving.modelserver"))


def programs() -> list[Program]:
    """The embedded server, and the real one where HEADWAY_TFSERVING_BINARY names it."""
    binary = os.environ.get(BINARY_VARIABLE)
    return [EMBEDDED, Program("real", (binary,))] if binary else [EMBEDDED]


@dataclass(frozen=True)
class HttpReply:
    """What a REST request was answered; header names are as sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error body, which holds nothing else."""
        (text,) = self.json.values()
        assert list(self.json) == ["error"]
        return str(text)


class ServerUnderTest:
    """A started process. gRPC listens on `port` and on a Unix socket, REST on `rest_port`; logs go to files."""

    def __init__(self, program: Program, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        self.program = program
        self._folder = tempfile.TemporaryDirectory(prefix="hw-conf-")
        folder = Path(self._folder.name)
        self.socket_path = folder / "grpc.sock"
        self._out, self._err = folder / "out", folder / "err"
        self.port, self.rest_port = free_port(), free_port()
        places = [
            f"--port={self.port}",
            f"--rest_api_port={self.rest_port}",
            f"--grpc_socket_path={self.socket_path}",
        ]
        # Later duplicates win, so `flags` may change the places too.
        command = [*program.command, *places, *flags]
        self._awaited = {self.port, self.rest_port} & set(_given_ports(command))
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
            )
        self.stubs = Stubs(f"127.0.0.1:{self.port}")

    @property
    def stdout(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text(errors="replace")

    def wait_until_ready(self) -> "ServerUnderTest":
        """Return once the TCP ports are open, which is after every configured model serves."""
        for port in self._awaited:
            self._wait(lambda port=port: _is_open(port), f"port {port} to open")
        return self

    def wait_for_log(self, text: str) -> None:
        """Return once `text` stands on stderr."""
        self._wait(lambda: text in self.stderr, f"{text!r} in the log")

    def exit_status(self) -> int:
        """Wait for the end of the process and return its status."""
        return self.process.wait(timeout=START_SECONDS)

    def http(
        self, method: str, path: str, body: bytes | str | dict[str, Any] | None = None, **headers: str
    ) -> HttpReply:
        """Send one REST request; a dict is sent as JSON. Underscores in header names become dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=60)
        sent = json.dumps(body) if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, sent.encode() if isinstance(sent, str) else sent, named)
            reply = connection.getresponse()
            return HttpReply(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def close(self) -> None:
        self.stubs.channel.close()
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def __enter__(self) -> "ServerUnderTest":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, come: Any, what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not come():
            assert self.process.poll() is None, f"the server ended:\n{self.stdout}{self.stderr}"
            assert time.monotonic() < end, f"waited in vain for {what}:\n{self.stderr}"
            time.sleep(0.02)


def _given_ports(command: list[str]) -> list[int]:
    """The values of --port and --rest_api_port that count, which are the last ones."""
    given = dict(flag.split("=", 1) for flag in command if flag.startswith(("--port=", "--rest_api_port=")))
    return [int(value) for value in given.values()]


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
