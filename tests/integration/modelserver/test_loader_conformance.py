"""What the version manager relies on holds for the fake loader and for the real one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.runtime.mixed_precision import MixedPrecision
from headway_serving.modelserver.runtime.model_loader import ModelLoader
from headway_serving.modelserver.runtime.saved_model import SavedModel, SessionConfig
from tests.unit.serving.modelserver.fake_loader import FakeLoader


def saved_model_loader() -> ModelLoader:
    return ModelLoader(frozenset({"serve"}), SessionConfig(), MixedPrecision("auto", None), PredictOptions(), 1)


@pytest.fixture(params=[FakeLoader, saved_model_loader], ids=["fake", "real"])
def loader(request: pytest.FixtureRequest) -> Any:
    return request.param()


def usable(servable: Any) -> bool:
    if not isinstance(servable, SavedModel):
        return not servable.closed
    output = servable.run({"serving_default_x:0": np.array([4], np.float32)}, [output_name(servable)], None)
    return output[0].tolist() == [4.0]


def output_name(servable: SavedModel) -> str:
    return str(servable.signatures["serving_default"].outputs["y"].name)


def test_a_good_directory_gives_a_servable(loader: Any, saved_models: Path) -> None:
    servable = loader.load(saved_models / "half_plus_2")
    assert usable(servable)
    servable.close()


def test_servables_of_one_directory_are_closed_one_by_one(loader: Any, saved_models: Path) -> None:
    first, second = loader.load(saved_models / "half_plus_2"), loader.load(saved_models / "half_plus_2")
    first.close()
    assert usable(second)
    second.close()


def test_a_directory_without_a_model_is_not_found_each_time(loader: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StatusError) as caught:
            loader.load(tmp_path)
        assert caught.value.code is Code.NOT_FOUND
        assert str(tmp_path) in caught.value.message


def test_a_plain_file_as_version_is_not_found(loader: Any, tmp_path: Path) -> None:
    (tmp_path / "7").write_text("not a directory")
    with pytest.raises(StatusError) as caught:
        loader.load(tmp_path / "7")
    assert caught.value.code is Code.NOT_FOUND
