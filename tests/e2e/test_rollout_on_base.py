"""A head that stands on a base is rolled out with it: loaded, verified, asked and unloaded together."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headway_contract.model_repository import ModelRepository
from tests.e2e.changed_versions import nearest_filter, publish_changed, standing_on, with_manifest
from tests.e2e.conftest import BACKBONE, ON_BASE, TWIN
from tests.e2e.rollout_line import QUICK, Line, Users, line_of
from tests.support.waiting import eventually


@pytest.fixture
def line(parts: ModelRepository, tmp_path: Path) -> Iterator[Line]:
    repository = ModelRepository(tmp_path / "models")
    for model in parts.models():
        shutil.copytree(parts.root / model, repository.root / model)
    pictures = [sample.image for sample in parts.manifest(ON_BASE, 1).golden]
    with line_of(repository, ON_BASE, pictures, tmp_path) as running:
        yield running


def available(line: Line, model: str) -> list[int]:
    return list(httpx.get(f"{line.served.url}/v1/models/{model}").json()["versions"])


def test_a_good_head_on_another_version_of_its_base_is_promoted_under_load(line: Line) -> None:
    assert publish_changed(line.repository, BACKBONE) == 2
    assert publish_changed(line.repository, ON_BASE, with_manifest(standing_on(2))) == 2
    assert "versions: 2" not in line.loaded()
    with Users(line) as users:
        run = line.rollout("start", *QUICK, "--steps", "50,100")
        assert run.returncode == 0, (run.stdout, run.stderr)
    users.check_unharmed()
    assert set(users.seconds) == {1, 2}
    assert line.routes().stable == 2
    assert line.loaded().count("versions: 1 versions: 2") == 2, "the head and its base, both versions of each"

    assert line.rollout("finish").returncode == 0
    eventually(lambda: available(line, ON_BASE) == [2], "the head that lost is unloaded")
    # The other head still stands on the first version of the base.
    assert line.loaded().count("versions: 1 versions: 2") == 1
    assert {line.served.classify(model, line.pictures[0]).status_code for model in (ON_BASE, TWIN)} == {200}


def test_golden_samples_show_another_resize_filter_though_the_change_of_geometry_is_accepted(line: Line) -> None:
    assert publish_changed(line.repository, ON_BASE, with_manifest(nearest_filter)) == 2
    with Users(line) as users:
        run = line.rollout("start", *QUICK, "--accept-geometry-change")
    assert run.returncode == 2, (run.stdout, run.stderr)
    assert "golden sample" in run.stderr
    assert "exported" in run.stderr
    users.check_unharmed()
    assert set(users.seconds) == {1}
    assert (line.routes().rollout, "versions: 2" in line.loaded()) == (None, False)
