"""Everything one case needs, ready to be measured: models, pictures, running systems, checked requests."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.corpus import Corpus, ask_alone
from benchmarks.models import make_model
from benchmarks.pictures import make_pictures
from benchmarks.shared_bench import SharedBench
from benchmarks.systems import Running, System, baselines, headway
from headway_contract.model_repository import ModelRepository
from headway_contract.processor import bfloat16_obstacle_here


@dataclass(frozen=True)
class Contestant:
    """A running system and the requests that it is asked."""

    running: Running
    corpus: Corpus

    @property
    def name(self) -> str:
        """The system's name."""
        return self.running.system.name


@contextmanager
def prepared(case: Case, bench: SharedBench, work: Path, *, with_baselines: bool) -> Iterator[Sequence[Contestant]]:
    """Headway first, then the plain services, all serving the case's model until the block is left.

    Beside plain services Headway stands twice where the processor has bfloat16: with its defaults, and in float32.
    Those that are not being asked hold memory and no core. Raises ``CannotMeasure``.
    """
    models = work / "models"
    version = make_model(case, models)
    # Of an earlier case: `headway serve` would not route what has been trained since.
    for name in ("routes.json", "models.config"):
        (models / name).unlink(missing_ok=True)
    pictures = make_pictures(case, work / "pictures" / case.name, models)
    labels = list(ModelRepository(models).manifest(case.model, int(version.name)).labels)
    systems = [headway(case, models)]
    if with_baselines:
        systems += [headway(case, models, float32=True)] if bfloat16_obstacle_here() is None else []
        systems += baselines(bench, version, work / "packages")
    with ExitStack() as stack:
        running = [
            stack.enter_context(Running(system, work / f"{system.name.lower().replace(' ', '-')}.log"))
            for system in systems
        ]
        contestants = []
        for each in running:
            each.wait_until_ready()
            contestants.append(Contestant(each, ask_alone(bench, case, each.system, pictures, labels, work)))
        yield contestants


def _file_name(system: System) -> str:
    return system.name.lower().replace(" ", "-")
