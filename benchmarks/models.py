"""The models that answer: trained once with their recipes, then kept."""

import subprocess
import sys
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.shared_bench import CannotMeasure, data_folder
from headway_contract.model_repository import ModelRepository

HEADWAY = [sys.executable, "-m", "headway_client.cli"]


def make_model(case: Case, root: Path) -> Path:
    """The newest version of the case's model in the repository ``root``, trained if there is none.

    Raises :class:`CannotMeasure`.
    """
    repository = ModelRepository(root)
    if not repository.versions(case.model):
        print(f"training {case.model}, once ...", flush=True)
        headway("train", *case.recipes, "--repository", str(root))
    return repository.path(case.model, repository.latest(case.model))


def headway(command: str, *arguments: str) -> None:
    """Run a ``headway`` command that reads data. Raises :class:`CannotMeasure` with what it said."""
    data = data_folder()
    options = [] if data is None else ["--data-dir", str(data)]
    finished = subprocess.run(
        [*HEADWAY, command, *arguments, *options],
        check=False,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if finished.returncode != 0:
        raise CannotMeasure(f"headway {command} ended with exit code {finished.returncode}: {finished.stderr.strip()}")
