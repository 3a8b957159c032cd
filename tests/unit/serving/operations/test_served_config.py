"""What is wrong in a ``models.config`` that somebody else wrote is said, and nothing in it is changed."""

from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.models_config import loaded_versions
from headway_serving.operations.served_config import UnusableConfiguration, settle

TABLE = RouteTable({"digits": ModelRoutes(1)})


@pytest.fixture
def models(tmp_path: Path) -> ModelRepository:
    (tmp_path / "models" / "digits" / "1").mkdir(parents=True)
    return ModelRepository(tmp_path / "models")


def entry(name: str, base_path: Path) -> str:
    """One that headway would not write: every version is loaded."""
    return f"config {{ name: '{name}' base_path: '{base_path}' model_platform: 'tensorflow' }}"


def test_a_file_that_is_not_there_is_written_and_moves_with_the_repository(
    models: ModelRepository, tmp_path: Path
) -> None:
    config = tmp_path / "made" / "models.config"
    assert settle(config, models, TABLE) == []
    assert loaded_versions(config) == {"digits": (1,)}
    moved = ModelRepository(models.root.rename(tmp_path / "moved"))
    assert len(settle(config, moved, TABLE)) == 1
    assert str(moved.root) in config.read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("this is no configuration {", "is no configuration of a model server"),
        ("model_config_list {" + entry("digits", Path("/nowhere/digits")) + "}", "/nowhere/digits is no folder"),
    ],
)
def test_what_cannot_be_served_by_is_refused_and_stays(
    models: ModelRepository, tmp_path: Path, text: str, why: str
) -> None:
    config = tmp_path / "models.config"
    config.write_text(text)
    with pytest.raises(UnusableConfiguration, match=why):
        settle(config, models, TABLE)
    assert config.read_text() == text


def test_what_can_be_served_by_stays(models: ModelRepository, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text("# ours\nmodel_config_list {" + entry("digits", models.root / "digits") + "}")
    before = config.read_text()
    assert settle(config, models, TABLE) == []
    (remark,) = settle(config, models, RouteTable({**TABLE.models, "faces": ModelRoutes(1)}))
    assert remark.startswith("faces: routed, and not loaded")
    assert config.read_text() == before
