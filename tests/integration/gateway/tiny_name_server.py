"""A name server on the loopback address that gives one name several addresses, as a Kubernetes headless service has."""

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_A, _IN = 1, 1
_ANSWER, _NO_ERROR = 0x8400, 0
_TO_THE_QUESTION = 0xC00C
"""Where the question's name stands in every message (RFC 1035, 4.1.4)."""


@contextmanager
def name_server(addresses: Sequence[str]) -> Iterator[str]:
    """Give the ``host:port`` of a running server that answers every question for an IPv4 address with ``addresses``."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(server, addresses), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        # An empty message ends it: closing a socket does not wake who reads from it.
        server.sendto(b"", server.getsockname())
        thread.join()
        server.close()


def _serve(server: socket.socket, addresses: Sequence[str]) -> None:
    while True:
        asked, client = server.recvfrom(4096)
        if not asked:
            return
        end = asked.index(b"\0", 12) + 5
        question = asked[12:end]
        (kind,) = struct.unpack_from("!H", question, len(question) - 4)
        found = addresses if kind == _A else ()
        header = asked[:2] + struct.pack("!HHHHH", _ANSWER | _NO_ERROR, 1, len(found), 0, 0)
        records = [
            struct.pack("!HHHIH", _TO_THE_QUESTION, _A, _IN, 0, 4) + socket.inet_aton(address) for address in found
        ]
        server.sendto(header + question + b"".join(records), client)
