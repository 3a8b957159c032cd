"""The file that says how the children do."""

import json
import sys
from pathlib import Path

from headway_serving.operations.managed_process import ManagedProcess
from headway_serving.operations.supervision import SupervisionFile
from tests.support.waiting import eventually


def test_a_child_that_dies_and_is_started_again_is_counted(tmp_path: Path) -> None:
    child = ManagedProcess("gateway", [sys.executable, "-c", "pass"], {})
    file = tmp_path / "children.json"
    supervision = SupervisionFile(file, [child])

    def said() -> dict[str, int]:
        supervision.update()
        child.revive()
        supervision.update()
        found: dict[str, int] = json.loads(file.read_text())["children"]["gateway"]
        return found

    assert said() == {"up": 0, "restarts": 0}
    child.start()
    eventually(lambda: said()["restarts"] >= 1, "it is started again")
    child.stop(1.0)
    assert said()["up"] == 0
