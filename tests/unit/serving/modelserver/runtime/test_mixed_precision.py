"""Which versions are computed in bfloat16, by the flag and by what their manifests say."""

from pathlib import Path

import pytest

from headway_contract.model_repository import MANIFEST_FILE
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.runtime.mixed_precision import MixedPrecision, mode_of
from tests.support.contract_examples import manifest, measured_in_bfloat16

OBSTACLE = "this processor has neither"


@pytest.fixture
def versions(tmp_path: Path) -> dict[str, Path]:
    """Directories of versions that may, must not, and say nothing; with and without a manifest."""
    texts = {
        "may": manifest(precisions=(measured_in_bfloat16(),)).to_json(),
        "must not": manifest(precisions=(measured_in_bfloat16(allowed=False),)).to_json(),
        "not measured": manifest().to_json(),
        "broken": "{",
    }
    directories = {"foreign": tmp_path / "foreign"}
    for name, text in texts.items():
        directories[name] = tmp_path / name
        path = directories[name] / MANIFEST_FILE
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return directories


@pytest.mark.parametrize(
    ("mode", "obstacle", "in_bfloat16"),
    [
        ("auto", None, {"may"}),
        ("auto", OBSTACLE, set()),
        ("off", None, set()),
        ("bfloat16", None, {"may", "not measured", "broken", "foreign"}),
        ("bfloat16", OBSTACLE, {"may", "not measured", "broken", "foreign"}),
    ],
)
def test_no_version_is_computed_in_what_its_manifest_does_not_allow(
    versions: dict[str, Path], mode: str, obstacle: str | None, in_bfloat16: set[str]
) -> None:
    precision = MixedPrecision(mode, obstacle)
    assert {name for name, directory in versions.items() if precision.applies(directory)} == in_bfloat16


def test_the_flag_s_values() -> None:
    assert [mode_of(value) for value in ("", "auto", "off", "bfloat16")] == ["auto", "auto", "off", "bfloat16"]
    for other in ("float16", "BFLOAT16", "bfloat16 "):
        with pytest.raises(StatusError, match="Valid option: bfloat16") as caught:
            mode_of(other)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert other in caught.value.message
