from pathlib import Path

from headway_serving.adapters.metrics.surroundings import Supervision, memory_limit


def test_the_memory_limit_is_that_of_the_control_group(tmp_path: Path) -> None:
    two, one = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    assert memory_limit((two, one)) == []
    one.write_text("1073741824\n")
    assert memory_limit((two, one)) == [((), 2.0**30)]
    two.write_text("max\n")
    one.write_text(f"{2**63 - 4096}\n")
    assert memory_limit((two, one)) == []


def test_children_are_as_the_supervisor_says(tmp_path: Path) -> None:
    file = tmp_path / "children.json"
    supervision = Supervision(file)
    assert supervision.up() == supervision.restarts() == []
    file.write_text('{"children": {"gateway": {"up": 1, "restarts": 0}, "model server": {"up": 0, "restarts": 2}}}')
    assert supervision.up() == [(("gateway",), 1.0), (("model server",), 0.0)]
    assert supervision.restarts() == [(("gateway",), 0.0), (("model server",), 2.0)]
