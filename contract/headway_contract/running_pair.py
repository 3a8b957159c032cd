"""Which model server and gateway serve a repository on this machine: what ``headway serve`` writes into its lock.

The lock file stays when its process is gone; only as long as the lock is held does it say something.
"""

import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from headway_contract.regular_files import open_regular_file


@dataclass(frozen=True)
class Pair:
    """``process``: the supervisor's id; ``url``: the gateway; ``model_server``: its gRPC address, ``HOST:PORT``."""

    process: int
    url: str
    model_server: str

    def to_json(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Pair | None":
        """The pair; None for what is not one: the lock was taken, and nothing is written yet."""
        try:
            document = json.loads(text)
            return cls(int(document["process"]), str(document["url"]), str(document["model_server"]))
        except (ValueError, LookupError, TypeError):
            return None


def lock_path(models_config: Path) -> Path:
    """Where the lock of the supervisor of a ``models.config`` is."""
    return models_config.with_name(f".{models_config.name}.serve.lock")


def running_pair(models_config: Path) -> Pair | None:
    """The pair that is served by the file now on this machine; None if none is, or it cannot be seen."""
    path = lock_path(models_config)
    try:
        with open_regular_file(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Pair.from_json(lock.read())
    except OSError:
        pass
    return None
