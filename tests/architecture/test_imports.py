"""The import rules, as the linter checks them and as only a look at the files can."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "contract": ROOT / "contract" / "headway_contract",
    "training": ROOT / "training" / "headway_training",
    "serving": ROOT / "serving" / "headway_serving",
    "client": ROOT / "client" / "headway_client",
}


def sources(package: str) -> list[Path]:
    return sorted(path for path in PACKAGES[package].rglob("*.py") if not path.name.endswith("_pb2.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_the_import_linter_keeps_every_contract() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("contract", {"headway_contract", "numpy", "PIL", "pi_heif"}),
        ("client", {"headway_client", "httpx"}),
    ],
)
def test_a_package_that_others_rely_on_needs_little(package: str, allowed: set[str]) -> None:
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(package)
        for name in imported(path)
        if name not in allowed and name not in sys.stdlib_module_names
    }
    assert not foreign


def test_two_files_of_serving_import_tensorflow() -> None:
    importers = {path.name for path in sources("serving") if {"tensorflow", "keras"} & set(imported(path))}
    assert importers == {"saved_model_loader.py", "saved_model.py"}


def fresh(statement: str) -> str:
    """What a statement prints in a new interpreter."""
    return subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True).stdout


def test_importing_the_gateway_leaves_tensorflow_alone() -> None:
    names = "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    loaded = fresh(f"import headway_serving.gateway.composition, sys; {names}")
    assert "flask" in loaded.split()
    assert not {"tensorflow", "keras", "tensorflow_serving"} & set(loaded.split())


@pytest.mark.parametrize("verb", ["train", "serve", "classify", "recipes", "samples"])
def test_help_of_a_command_loads_no_tensorflow(verb: str) -> None:
    loaded = fresh(
        "import sys, contextlib, io\n"
        "from headway_client.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main(['{verb}', '--help'])\n"
        "print('tensorflow' in sys.modules, 'headway_client.cli' in sys.modules)"
    )
    assert loaded.split() == ["False", "True"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [path.name for path in sources(package) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


# The one reason for length that is accepted today: a table. Name the file and say so beside it.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_stay_readable(package: str) -> None:
    for path in sources(package):
        text = path.read_text()
        assert path.name in LONG_FILES or len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in LONG_FUNCTIONS:
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
