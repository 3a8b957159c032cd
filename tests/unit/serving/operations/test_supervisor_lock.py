"""Two supervisors of one configuration: the second is refused; one that was killed is no obstacle."""

import subprocess
import sys
from pathlib import Path

import pytest

from headway_contract.running_pair import Pair, running_pair
from headway_serving.operations.supervisor_lock import SupervisedElsewhere, supervising

PAIR = Pair(1234, "http://127.0.0.1:8080", "127.0.0.1:8500")
HOLDER = (
    "import pathlib, sys, time\n"
    "from headway_contract.running_pair import Pair\n"
    "from headway_serving.operations.supervisor_lock import supervising\n"
    "with supervising(pathlib.Path(sys.argv[1]), Pair(77, 'http://127.0.0.1:9000', '127.0.0.1:9500')):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)"
)


def test_the_second_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(SupervisedElsewhere, match=r"process 77, http://127.0.0.1:9000.* already; use that one"),
            supervising(config, PAIR),
        ):
            pass
        assert running_pair(config) == Pair(77, "http://127.0.0.1:9000", "127.0.0.1:9500")
        with supervising(tmp_path / "other.config", PAIR):
            pass
    finally:
        holder.kill()
        holder.wait()
    with supervising(config, PAIR):
        pass


def test_where_nothing_can_be_written_there_is_no_lock(tmp_path: Path) -> None:
    with supervising(tmp_path / "missing" / "models.config", PAIR):
        pass
