"""Which answer is right: what a system says to each picture asked alone, and how often that is the truth."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cases import Case
from benchmarks.pictures import truth
from benchmarks.shared_bench import SharedBench
from benchmarks.systems import System


@dataclass(frozen=True)
class Corpus:
    """``path``: the requests, each with the label its answer must begin with. ``accuracy``: share that is the truth."""

    path: Path
    accuracy: float


def ask_alone(
    bench: SharedBench, case: Case, system: System, pictures: list[Path], labels: list[str], work: Path
) -> Corpus:
    """Ask for every picture alone and keep the answers as what must come under load too.

    ``labels`` are the model's in their order: the plain services answer with indices.
    """
    rows, right = [], 0
    with httpx.Client(base_url=system.url, timeout=60, headers={"Content-Type": case.content_type}) as client:
        for picture in pictures:
            answer = client.post(system.path, content=picture.read_bytes()).raise_for_status().json()
            said = _best(answer)
            rows.append((str(picture), said))
            right += (labels[int(said)] if "predictions" in answer else said) == truth(picture)
    expected = work / f"{case.name}-{system.name.replace(' ', '-')}.csv"
    with expected.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    requests = bench.render(expected, system.path, case.content_type, expected.with_suffix(".bin"))
    return Corpus(requests, right / len(pictures))


def _best(answer: dict[str, Any]) -> str:
    if "answers" in answer:
        return _best(answer["answers"][0])
    if "results" in answer:
        return str(answer["results"][0]["predictions"][0]["label"])
    return str(answer["predictions"][0]["class"])
