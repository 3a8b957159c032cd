"""The record of a run survives its file, and says what is wrong with one that it cannot read."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headway_training.errors import TrainingError
from headway_training.run_record import RunRecord, ScoredPictures
from tests.unit.training.run_examples import a_phase, a_record, pictures_of


def test_a_record_is_read_back_as_it_was_written() -> None:
    record = a_record()
    assert RunRecord.from_json(record.to_json()) == record
    bare = a_record(base=None, sweep=(), other_tests=(), git_commit=None, base_epoch_seconds=None)
    assert RunRecord.from_json(bare.to_json()) == bare


def test_an_epoch_that_diverged_is_kept_in_standard_json() -> None:
    record = a_record(phases=(replace(a_phase("base"), loss=(1.0, math.nan, math.inf)),))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(record.to_json(), parse_constant=refuse)
    loss = RunRecord.from_json(record.to_json()).phases[0].loss
    assert loss[0] == 1.0
    assert math.isnan(loss[1])
    assert loss[2] == math.inf


def test_facts_that_a_later_release_adds_are_ignored() -> None:
    later = json.loads(a_record().to_json()) | {"moon_phase": "full"}
    assert RunRecord.from_json(json.dumps(later)) == a_record()


@pytest.mark.parametrize("schema", [2, None, "1"])
def test_an_unknown_schema_is_refused(schema: object) -> None:
    text = json.dumps(json.loads(a_record().to_json()) | {"schema": schema})
    with pytest.raises(TrainingError, match=r"schema .* is unknown to this release"):
        RunRecord.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_record_is_refused(text: str | bytes) -> None:
    with pytest.raises(TrainingError, match="run record"):
        RunRecord.from_json(text)


def test_a_wrong_field_is_named() -> None:
    mapping = json.loads(a_record().to_json())
    mapping["evaluation"]["accuracy"]["samples"] = "many"
    del mapping["seed"]
    with pytest.raises(TrainingError, match=r"seed: .*evaluation\.accuracy\.samples|samples: .*seed: "):
        RunRecord.from_json(json.dumps(mapping))


def test_the_first_epoch_counts_for_the_median_only_if_it_is_alone() -> None:
    assert a_phase("head").median_epoch_seconds == 3.0
    assert replace(a_phase("head"), epoch_seconds=(9.0,)).median_epoch_seconds == 9.0


def test_scored_pictures_survive_their_file(tmp_path: Path) -> None:
    pictures = pictures_of(a_record(), seed=3)
    pictures.save(tmp_path / "scores.npz")
    read = ScoredPictures.load(tmp_path / "scores.npz")
    np.testing.assert_array_equal(read.scores, pictures.scores)
    np.testing.assert_array_equal(read.labels, pictures.labels)
    np.testing.assert_array_equal(read.identities, pictures.identities)
    assert (read.scores.dtype, read.labels.dtype) == (np.float32, np.int32)


def test_identities_may_be_bytes(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", scores=np.ones((1, 2)), labels=np.zeros(1), identities=np.array([b"ab"]))
    assert ScoredPictures.load(tmp_path / "scores.npz").identities.tolist() == ["ab"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"no archive"])
def test_a_file_without_scores_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"scores\.npz holds no scores"):
        ScoredPictures.load(path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", scores=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(TrainingError, match="holds no scores"):
        ScoredPictures.load(tmp_path / "scores.npz")
