"""What a lock says counts only while somebody holds it."""

import fcntl
from pathlib import Path

from headway_contract.running_pair import Pair, lock_path, running_pair

PAIR = Pair(1234, "http://127.0.0.1:8080", "127.0.0.1:8500")


def test_a_pair_runs_while_the_lock_is_held(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    assert running_pair(config) is None
    lock_path(config).write_bytes(PAIR.to_json())
    assert running_pair(config) is None, "left by a process that is gone"
    with lock_path(config).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running_pair(config) == PAIR
    assert running_pair(config) is None


def test_a_lock_without_a_pair_names_none() -> None:
    for text in (b"", b"{}", b"[]", b'{"process": "x", "url": "", "model_server": ""}', b"\xff"):
        assert Pair.from_json(text) is None
