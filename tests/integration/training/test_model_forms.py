"""A head may be published alone, to be run on its base's features; a run of any form records the same figures."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway_contract.errors import BaseDiffers, ModelMissing, VersionDamaged
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import decode_image, to_model_input
from headway_training.errors import TrainingError
from headway_training.run_record import SCORES_FILE, ScoredPictures
from tests.integration.training.runs_here import Workshop
from tests.integration.training.saved_model_session import loaded


@pytest.fixture(scope="module")
def forms(workshop: Workshop) -> Workshop:
    """The same head, published standalone and on its base."""
    workshop.train(workshop.head("whole"))
    workshop.train(workshop.head("alone", "export.form=on_base"))
    return workshop


def golden_inputs(forms: Workshop, model: str) -> Any:
    manifest = forms.repository.manifest(model, 1)
    return np.stack(
        [to_model_input(decode_image(sample.image, spec=manifest.image), manifest.image) for sample in manifest.golden]
    )


def test_a_head_on_its_base_takes_features_only(forms: Workshop) -> None:
    features, scores = {"features": ("float32", [-1, 8])}, {"scores": ("float32", [-1, 3])}
    with loaded(forms.repository.path("alone", 1)) as model:
        assert model.signatures == {
            "from_features": (features, scores),
            "manifest": ({"request": ("string", [-1])}, {"manifest": ("string", [-1])}),
        }
        written = (forms.repository.path("alone", 1) / "assets.extra" / "manifest.json").read_bytes()
        assert model.run("manifest", [b"", b""]).tolist() == [written] * 2


def test_it_names_model_version_and_digest_of_its_base(forms: Workshop) -> None:
    alone, whole = (forms.repository.manifest(name, 1) for name in ("alone", "whole"))
    assert (alone.form, alone.kind, whole.form) == ("on_base", "head", "standalone")
    assert alone.base == whole.base
    assert (alone.base.model, alone.base.version) == ("coloured-base", 1)
    assert alone.base.digest == forms.repository.digest("coloured-base", 1)


def test_on_its_bases_features_it_answers_as_the_standalone_head(forms: Workshop) -> None:
    pictures = golden_inputs(forms, "alone")
    with (
        loaded(forms.repository.path("coloured-base", 1)) as base,
        loaded(forms.repository.path("alone", 1)) as alone,
        loaded(forms.repository.path("whole", 1)) as whole,
    ):
        scores = alone.run("from_features", base.run("features", pictures))
        np.testing.assert_allclose(scores, whole.run("serving_default", pictures), rtol=0, atol=1e-6)
    golden = [sample.scores for sample in forms.repository.manifest("alone", 1).golden]
    np.testing.assert_allclose(scores, golden, rtol=0, atol=1e-5)


def test_both_forms_record_the_same_figures(forms: Workshop) -> None:
    alone, whole = forms.record("alone"), forms.record("whole")
    assert (alone.form, whole.form) == ("on_base", "standalone")
    assert alone.evaluation == whole.evaluation
    first, second = [
        ScoredPictures.load(forms.repository.path(name, 1) / SCORES_FILE).scores for name in ("alone", "whole")
    ]
    np.testing.assert_array_equal(first, second)


def test_it_holds_the_heads_variables_and_not_the_bases(forms: Workshop) -> None:
    def bytes_of_variables(model: str) -> int:
        folder = forms.repository.path(model, 1) / "variables"
        return sum(path.stat().st_size for path in folder.iterdir())

    assert not (forms.repository.path("alone", 1) / "assets.extra" / "features.keras").exists()
    # The base has 6 * 27 + 6 + 4 * 6 + 8 * 54 + 8 = 632 parameters of four bytes.
    assert bytes_of_variables("whole") - bytes_of_variables("alone") >= 632 * 4


def staged_elsewhere(forms: Workshop, root: Path) -> None:
    """Publish the on_base head into another repository."""
    repository = ModelRepository(root)
    with repository.staging("alone") as staged:
        shutil.copytree(forms.repository.path("alone", 1), staged, dirs_exist_ok=True)
        repository.publish("alone", staged)


def test_without_its_base_in_the_repository_it_is_not_published(forms: Workshop, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="'coloured-base' has no version in repository"):
        staged_elsewhere(forms, tmp_path)
    assert ModelRepository(tmp_path).models() == ()


def test_above_another_base_of_the_same_name_it_is_not_published(forms: Workshop, tmp_path: Path) -> None:
    shutil.copytree(forms.repository.path("coloured-base", 1), tmp_path / "coloured-base" / "1")
    sums = tmp_path / "coloured-base" / "1" / "assets.extra" / "SHA256SUMS"
    sums.write_text(sums.read_text() + "0" * 64 + "  variables/more\n")
    with pytest.raises(BaseDiffers, match=r"alone was trained on coloured-base/1 with digest sha256:.* has sha256:"):
        staged_elsewhere(forms, tmp_path)
    assert ModelRepository(tmp_path).models() == ("coloured-base",)
    shutil.copy(forms.repository.path("coloured-base", 1) / "assets.extra" / "SHA256SUMS", sums)
    staged_elsewhere(forms, tmp_path)
    assert ModelRepository(tmp_path).versions("alone") == (1,)


def test_a_base_that_is_removed_while_its_head_is_trained_refuses_the_head(forms: Workshop, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    shutil.copytree(forms.repository.path("coloured-base", 1), tmp_path / "coloured-base" / "1")

    class Removing:
        """A terminal; when the first epoch shows, somebody removes the base."""

        encoding = "utf-8"

        def write(self, text: str) -> int:
            if "epoch   1/" in text:
                shutil.rmtree(tmp_path / "coloured-base")
            return len(text)

        def flush(self) -> None:
            pass

    with pytest.raises(ModelMissing):
        forms.train(forms.head("orphan", "export.form=on_base"), Removing(), repository)  # type: ignore[arg-type]
    assert repository.models() == ()


def test_a_head_does_not_stand_on_a_head(forms: Workshop) -> None:
    with pytest.raises(TrainingError, match="recipe second: whole/1 is a head; a head stands on a base"):
        forms.train(forms.head("second", "base=whole"))


def test_a_damaged_base_is_not_built_on(forms: Workshop, tmp_path: Path) -> None:
    shutil.copytree(forms.repository.path("coloured-base", 1), tmp_path / "coloured-base" / "1")
    layers = tmp_path / "coloured-base" / "1" / "assets.extra" / "features.keras"
    layers.write_bytes(layers.read_bytes() + b"\0")
    with pytest.raises(VersionDamaged, match=r"differs from what was published: assets\.extra/features\.keras"):
        forms.train(forms.head("second"), repository=ModelRepository(tmp_path))
