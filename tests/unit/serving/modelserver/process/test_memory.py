"""How much memory a process has: the machine's, or its container's limit."""

from pathlib import Path

import pytest

from headway_serving.modelserver.process.memory import memory_of_process


def limits(texts: dict[str, str]) -> object:
    def read(path: Path) -> str:
        if path.name not in texts:
            raise FileNotFoundError(path)
        return texts[path.name]

    return read


MACHINE = memory_of_process(limits({}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"memory.max": "max\n"}, MACHINE),
        ({"memory.max": "524288000\n"}, 524288000),
        ({"memory.limit_in_bytes": "524288000\n"}, 524288000),
        ({"memory.limit_in_bytes": f"{1 << 63}\n"}, MACHINE),
    ],
)
def test_a_container_s_limit_counts_if_it_is_less(texts: dict[str, str], expected: int) -> None:
    assert memory_of_process(limits(texts)) == expected  # type: ignore[arg-type]


def test_the_machine_s_memory_is_that_of_its_pages() -> None:
    assert MACHINE > 1 << 28
