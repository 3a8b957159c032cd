"""A real nginx that spreads requests over gateways, as an ingress or a load balancer does."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx on PATH; on Debian: apt-get install nginx-light")

_CONFIGURATION = """
daemon off; master_process on; worker_processes 1; pid {folder}/pid; error_log {folder}/errors warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream gateways {{ {gateways} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location = /nginx {{ return 204; }}
    location / {{
      proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""
# proxy_next_upstream off: what a gateway loses is lost, and not repeated somewhere else.


@dataclass
class Nginx:
    """A running nginx; ``url`` is what clients ask."""

    url: str
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    def use(self, gateways: Sequence[int]) -> None:
        """Send new requests to the gateways at these ports, and wait until it does; those in flight are finished."""
        before = self._workers()
        _write(self.folder, self.port, gateways)
        subprocess.run(
            [str(NGINX), "-p", str(self.folder), "-c", str(self.folder / "conf"), "-s", "reload"],
            check=True,
            capture_output=True,
        )
        eventually(lambda: not before & self._workers(), "nginx has a new worker and the former has ended")

    def _workers(self) -> set[int]:
        done = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return {int(line) for line in done.stdout.split()}


@contextmanager
def nginx(folder: Path, gateways: Sequence[int]) -> Iterator[Nginx]:
    """Give an nginx in front of the gateways at these ports of this machine."""
    port = free_port()
    _write(folder, port, gateways)
    process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(port), "nginx answers")
        yield Nginx(f"http://127.0.0.1:{port}", folder, port, process)
    finally:
        process.terminate()
        process.wait(30)


def _write(folder: Path, port: int, gateways: Sequence[int]) -> None:
    servers = " ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in gateways)
    (folder / "conf").write_text(_CONFIGURATION.format(folder=folder, port=port, gateways=servers))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/nginx", timeout=2).status_code == 204
    except httpx.HTTPError:
        return False
