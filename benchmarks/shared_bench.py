"""The folder with the load generator and the plain services, which lies beside the checkout."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FILES = ("loadgen.c", "corpus.py", "baseline.py")


class CannotMeasure(Exception):
    """Something that measuring needs is not there; the text says what to do."""


@dataclass(frozen=True)
class SharedBench:
    """``folder`` has ``corpus.py`` and ``baseline.py``; ``loadgen`` is the compiled load generator."""

    folder: Path
    loadgen: Path

    def render(self, labels: Path, path: str, content_type: str, out: Path) -> Path:
        """Write the requests for the pictures in ``labels`` (lines ``picture path,expected label``) to ``out``."""
        command = [sys.executable, str(self.folder / "corpus.py"), str(out), str(labels)]
        subprocess.run(
            [*command, "--path", path, "--content-type", content_type], check=True, stdout=subprocess.DEVNULL
        )
        return out


def prepare(work: Path) -> SharedBench:
    """Find the folder and compile its load generator into ``work``. Raises :class:`CannotMeasure`."""
    folder = Path(os.environ.get("HEADWAY_BENCH_DIR") or ROOT.parent / "shared" / "bench").resolve()
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise CannotMeasure(
            f"{folder} has no {', '.join(missing)}: the load generator and the plain services are kept there; "
            "name their folder with HEADWAY_BENCH_DIR=DIR make bench"
        )
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        raise CannotMeasure("no C compiler for the load generator; install gcc, or name another one with CC=...")
    loadgen, source = work / "loadgen", folder / "loadgen.c"
    if not loadgen.exists() or loadgen.stat().st_mtime < source.stat().st_mtime:
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(loadgen), str(source), "-lm"], check=True)
    return SharedBench(folder, loadgen)


def data_folder() -> Path | None:
    """Where real datasets are: ``HEADWAY_DATA_DIR``, or ``../shared/data``; None if there is neither."""
    folder = Path(os.environ.get("HEADWAY_DATA_DIR") or ROOT.parent / "shared" / "data")
    return folder.resolve() if folder.is_dir() else None
