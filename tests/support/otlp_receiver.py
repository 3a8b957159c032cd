"""A process that receives spans by OTLP over HTTP, and writes each as a line of JSON.

``python -m tests.support.otlp_receiver PORT FILE``.
"""

import contextlib
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_port
from tests.support.waiting import eventually


class Receiver:
    """Where spans are sent, and those that have come."""

    def __init__(self, url: str, file: Path) -> None:
        self.url, self._file = url, file

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process that shall send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "200", **more}

    def spans(self, trace_id: str | None = None) -> list[dict[str, Any]]:
        """Those of a trace, or all."""
        every = [json.loads(line) for line in self._file.read_text().splitlines()] if self._file.exists() else []
        return [span for span in every if trace_id is None or span["trace_id"] == trace_id]


@contextlib.contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """Run a receiver; ``folder``: for what it gets."""
    port, file = free_port(), folder / "spans"
    process = subprocess.Popen([sys.executable, "-m", "tests.support.otlp_receiver", str(port), str(file)])
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=5).status_code == 204
        except httpx.TransportError:
            return False

    try:
        eventually(answers, "the receiver of spans listens")
        yield Receiver(url, file)
    finally:
        process.terminate()
        process.wait(30)


def main(port: int, file: Path) -> None:
    """Receive until the process is ended."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent = service.ExportTraceServiceRequest.FromString(body)
            with file.open("a") as out:
                for resource in sent.resource_spans:
                    about = {each.key: each.value.string_value for each in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            out.write(json.dumps(_plain(span, about)) + "\n")
            answer = service.ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _plain(span: Any, about: dict[str, str]) -> dict[str, Any]:
    return {
        "service": about.get("service.name"),
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "state": span.trace_state,
        "status": span.status.code,
        "began": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "attributes": {
            each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in span.attributes
        },
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
