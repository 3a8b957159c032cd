"""Runs side by side: McNemar's test against exact numbers, pairing by identity, and the command line."""

from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest

from headway_training.comparison import McNemar, StoredRun, compare, mcnemar, paired_test
from headway_training.comparison_cli import compare_main
from headway_training.run_record import RUN_FILE, SCORES_FILE, RunRecord, ScoredPictures
from tests.unit.training.run_examples import CLASSES, a_record, pictures_of


def answers(only_first: int, only_second: int, both: int = 5, neither: int = 3) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * only_first + [False] * only_second + [True] * both + [False] * neither
    second = [False] * only_first + [True] * only_second + [True] * both + [False] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (1, 9, 22 / 1024),  # 2 (1 + 10) / 2^10
        (9, 1, 22 / 1024),
        (0, 6, 2 / 64),
        (0, 5, 2 / 32),
        (5, 5, 1.0),
        (1, 0, 1.0),
        (0, 0, 1.0),
    ],
)
def test_small_tables_have_their_exact_probability(b: int, c: int, p: float) -> None:
    found = mcnemar(*answers(b, c))
    assert (found.only_first, found.only_second, found.pictures) == (b, c, b + c + 8)
    assert found.p == pytest.approx(p, abs=1e-12)


def test_the_textbook_table_of_approval_ratings() -> None:
    # A. Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570; chi-squared 17.36, p < 0.0001.
    found = mcnemar(*answers(150, 86, both=794, neither=570))
    assert found.pictures == 1_600
    assert found.p == pytest.approx(2 * sum(comb(236, k) for k in range(87)) / 2**236, rel=1e-9)
    assert found.p < 0.0001


def scored(predicted: list[int], labels: list[int], identities: list[str]) -> ScoredPictures:
    return ScoredPictures(
        np.eye(3, dtype=np.float32)[predicted], np.array(labels, dtype=np.int32), np.array(identities)
    )


def test_pictures_are_matched_by_identity_whatever_their_order() -> None:
    record = a_record()
    first = StoredRun("a/1", record, scored([0, 1, 2, 0, 0], [0, 1, 2, 1, 0], ["p", "q", "r", "s", "only-a"]))
    # The same four pictures backwards, and another; only q is labelled wrong, and s right.
    second = StoredRun("b/1", record, scored([1, 2, 0, 0, 1], [1, 2, 1, 0, 1], ["s", "r", "q", "p", "only-b"]))
    assert paired_test(first, second).result == McNemar(pictures=4, only_first=1, only_second=1, p=1.0)


def test_classes_in_another_order_are_the_same_classes() -> None:
    first = StoredRun("a/1", a_record(), scored([0, 1], [0, 1], ["p", "q"]))
    turned = a_record(classes=("dog", "cat", "fox"))
    second = StoredRun("b/1", turned, scored([1, 1], [1, 0], ["p", "q"]))
    assert paired_test(first, second).result == McNemar(pictures=2, only_first=1, only_second=0, p=1.0)


def run_with(right: int, wrong: int, name: str) -> StoredRun:
    """Of ``right + wrong`` pictures the first are labelled right."""
    labels = [0] * (right + wrong)
    identities = [f"p{number}" for number in range(right + wrong)]
    return StoredRun(name, a_record(), scored([0] * right + [1] * wrong, labels, identities))


def test_the_verdict_says_which_is_better_or_that_nobody_can_tell() -> None:
    assert paired_test(run_with(90, 10, "a/1"), run_with(80, 20, "b/1")).verdict.startswith("a/1 is better")
    assert paired_test(run_with(80, 20, "a/1"), run_with(90, 10, "b/1")).verdict.startswith("b/1 is better")
    verdict = paired_test(run_with(90, 10, "a/1"), run_with(89, 11, "b/1")).verdict
    assert verdict == "a/1 and b/1 are not distinguishable on these pictures"


def test_why_there_is_no_test() -> None:
    first = StoredRun("a/1", a_record(), scored([0], [0], ["p"]))
    others = {
        "classes differ (cat, cow)": StoredRun("b/1", a_record(classes=("cow", "dog", "fox")), first.pictures),
        "no picture in common": StoredRun("b/1", a_record(), scored([0], [0], ["q"])),
        "1 of the shared pictures have another true class": StoredRun("b/1", a_record(), scored([0], [1], ["p"])),
    }
    for reason, second in others.items():
        found = paired_test(first, second)
        assert found.result is None
        assert reason in found.verdict


def test_only_recipe_fields_that_differ_are_listed() -> None:
    recipe = {"name": "pets", "fitting": {"epochs": 3, "batch_size": 32}}
    other = {"name": "pets", "fitting": {"epochs": 5, "batch_size": 32}, "base": "animals"}
    pictures = pictures_of(a_record(), 1)
    found = compare(
        [StoredRun("a/1", a_record(recipe=recipe), pictures), StoredRun("a/2", a_record(recipe=other), pictures)]
    )
    assert found.differing_recipe == {"fitting.epochs": (3, 5), "base": (None, "animals")}
    assert len(found.tests) == 1


def publish(root: Path, name: str, record: RunRecord, pictures: ScoredPictures) -> None:
    (root / name / "assets.extra").mkdir(parents=True)
    (root / name / RUN_FILE).write_text(record.to_json(), encoding="utf-8")
    pictures.save(root / name / SCORES_FILE)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    record = a_record()
    publish(tmp_path, "pets/1", record, pictures_of(record, seed=1))
    faster = replace(record, seconds={"fitting": 1.5}, recipe={"fitting": {"epochs": 9}})
    publish(tmp_path, "pets/2", faster, pictures_of(record, seed=2))
    publish(tmp_path, "toys/1", a_record(classes=("car", *CLASSES[1:])), pictures_of(record, seed=2))
    return tmp_path


def test_the_command_shows_runs_side_by_side(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_main(["pets/1", "pets", "toys", "--repository", str(repository)]) == 0
    out = capsys.readouterr().out
    lines = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    accuracy = a_record().evaluation.accuracy
    assert lines["accuracy"].count(f"{accuracy.value:.4f}") == 3
    assert f"{accuracy.low:.4f}-{accuracy.high:.4f}" in lines["95 % interval"]
    assert lines["seconds"].split()[1:] == ["8.8", "1.5", "8.8"]
    assert lines["epochs"].count("3 + 3") == 3
    assert lines["fitting.epochs"].split()[1:] == ["3", "9", "3"]
    # "pets" is its newest version.
    assert "only pets/1 labels" in out
    assert "only pets/2" in out
    assert "McNemar, exact, p = " in out
    assert "pets/1 against toys/1: no test: the classes differ (car, cat)." in out


def test_one_run_alone_is_shown_without_a_test(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_main(["toys", "--repository", str(repository)]) == 0
    out = capsys.readouterr().out
    assert "toys/1" in out
    assert "McNemar" not in out


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("birds", "model 'birds' has no version"),
        ("pets/7", "has no version 7"),
        ("pets/new", "'pets/new' is neither MODEL nor MODEL/VERSION"),
        ("pets/1/2", "is neither MODEL nor MODEL/VERSION"),
        ("../pets", "is neither MODEL nor MODEL/VERSION"),
        ("old", "old/1 has no record of its run"),
        ("torn", "run record: not JSON"),
        ("lost", "holds no scores"),
    ],
)
def test_a_run_that_cannot_be_read_ends_with_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], name: str, problem: str
) -> None:
    (repository / "old/1").mkdir(parents=True)
    publish(repository, "torn/1", a_record(), pictures_of(a_record(), 1))
    (repository / "torn/1" / RUN_FILE).write_text("{", encoding="utf-8")
    publish(repository, "lost/1", a_record(), pictures_of(a_record(), 1))
    (repository / "lost/1" / SCORES_FILE).unlink()
    assert compare_main(["pets", name, "--repository", str(repository)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert problem in captured.err
    assert captured.err.startswith("headway compare: ")
    assert captured.err.count("\n") == 1
