"""A publisher that is killed at any moment leaves a whole version or none."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from tests.support.contract_examples import manifest, publish

PUBLISHER = """
import sys
from pathlib import Path
from headway_contract import model_repository
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository

root, moment, manifest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def stop(*_):
    print("here", flush=True)
    sys.stdin.read()


repository = ModelRepository(root)
with repository.staging("letters") as staged:
    (staged / MANIFEST_FILE.parent).mkdir()
    (staged / MANIFEST_FILE).write_text(manifest)
    (staged / "weights").write_bytes(bytes(100_000))
    if moment == "staged":
        stop()
    if moment == "before flushing":
        model_repository.sync_tree = stop
    if moment == "before renaming":
        Path.rename = stop
    if moment == "after renaming":
        # The last act of publishing, once the version is in place.
        sync = model_repository.sync_directory
        model_repository.sync_directory = lambda path: stop() if path.name == "letters" else sync(path)
    repository.publish("letters", staged)
"""
"""Publishes one version, and stops for good at the named moment after saying ``here``."""


def killed_at(moment: str, root: Path) -> None:
    command = [sys.executable, "-c", PUBLISHER, str(root), moment, manifest().to_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "here\n"
        publisher.kill()
        assert publisher.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["staged", "before flushing", "before renaming"])
def test_killed_before_the_rename_it_leaves_no_version(tmp_path: Path, moment: str) -> None:
    repository = ModelRepository(tmp_path)
    killed_at(moment, tmp_path)
    assert repository.models() == ()
    assert [path for path in tmp_path.rglob("*") if path.name.isdecimal()] == []
    assert publish(repository) == 1
    repository.verify("letters", 1)


def test_killed_after_the_rename_it_leaves_a_whole_version(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    killed_at("after renaming", tmp_path)
    assert repository.versions("letters") == (1,)
    repository.verify("letters", 1)
    assert repository.manifest("letters", 1) == manifest()


def test_what_a_killed_publisher_leaves_does_not_disturb_the_next_ones(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    assert publish(repository) == 1
    killed_at("before renaming", tmp_path)
    assert repository.versions("letters") == (1,)
    assert publish(repository) == 2
