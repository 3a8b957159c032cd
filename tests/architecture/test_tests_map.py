"""A reader finds the tests of a module: in a file of its name, or by a line in a map."""

from pathlib import Path

import pytest

from tests.architecture.test_imports import PACKAGES, ROOT, sources
from tests.architecture.tested_elsewhere import TESTED_ELSEWHERE

MODULES = {
    f"{package}/{path.relative_to(folder)}": path
    for package, folder in PACKAGES.items()
    for path in sources(package)
    if path.name != "__init__.py"
}


def own_test(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / "unit" / path.parent / f"test_{path.stem.strip('_')}.py"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_a_line_in_the_map(module: str) -> None:
    assert own_test(module).exists() != (module in TESTED_ELSEWHERE)


@pytest.mark.parametrize("module", TESTED_ELSEWHERE)
def test_a_line_of_the_map_leads_from_a_module_to_tests(module: str) -> None:
    assert module in MODULES
    for name in TESTED_ELSEWHERE[module]:
        assert (ROOT / "tests" / name).read_text().count("def test_") > 0
