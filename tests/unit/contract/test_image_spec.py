"""What an ``ImageSpec`` may be, and that its JSON form is strict."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_contract.errors import InvalidManifest
from headway_contract.preprocessing import SPEC_REVISION, ImageSpec

SPECS = st.builds(
    ImageSpec,
    height=st.integers(1, 4096),
    width=st.integers(1, 4096),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    resample=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    polarity=st.sampled_from(["keep", "light_on_dark"]),
    pad_value=st.integers(0, 255),
    revision=st.sampled_from([1, 2, 3]),
) | st.builds(
    ImageSpec,
    height=st.integers(1, 4096),
    width=st.integers(1, 4096),
    channels=st.sampled_from([1, 3]),
    polarity=st.sampled_from(["keep", "light_on_dark", "auto"]),
    centre=st.sampled_from(["frame", "mass"]),
)

IMPOSSIBLE: dict[str, tuple[Any, ...]] = {
    "height": (0, -1, 4097, 28.0, "28", None, True),
    "width": (0, -1, 4097, 28.0, "28", None, True),
    "channels": (0, 2, 4, 1.0, "1", None, True, [1]),
    "fit": ("letterbox", "", None, 1, ["pad"]),
    "resample": ("cubic", "", None, 1, ["bilinear"]),
    "polarity": ("invert", "", None, 1, {}),
    "centre": ("middle", "", None, 1, ["mass"]),
    "pad_value": (-1, 256, 0.0, "0", None, False),
}


@settings(deadline=None)
@given(spec=SPECS)
def test_the_json_form_gives_the_spec_back(spec: ImageSpec) -> None:
    assert ImageSpec.from_mapping(spec.to_mapping()) == spec


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in IMPOSSIBLE.items() for value in values]
)
def test_an_impossible_value_is_refused_with_its_field_and_itself(field: str, value: Any) -> None:
    mapping = {"height": 28, "width": 28, "channels": 1, field: value}
    with pytest.raises(InvalidManifest) as refused:
        ImageSpec.from_mapping(mapping)
    assert field in str(refused.value)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize("revision", [0, 4, "1", 1.5, True, None])
def test_an_unknown_revision_is_refused(revision: Any) -> None:
    with pytest.raises(InvalidManifest, match=r"revision .* is unknown to this release"):
        ImageSpec.from_mapping({"height": 28, "width": 28, "channels": 1, "revision": revision})


def test_an_unknown_key_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidManifest, match="unknown key gamma; known: centre, channels, fit, height"):
        ImageSpec.from_mapping({"height": 28, "width": 28, "channels": 1, "gamma": 2.2})


@pytest.mark.parametrize("field", ["height", "width", "channels"])
def test_a_missing_field_is_named(field: str) -> None:
    mapping = {"height": 28, "width": 28, "channels": 1}
    del mapping[field]
    with pytest.raises(InvalidManifest, match=f"missing {field}"):
        ImageSpec.from_mapping(mapping)


def test_shape_is_in_the_order_of_the_models_input() -> None:
    assert ImageSpec(32, 48, 3).shape == (32, 48, 3)


def test_what_is_written_today_has_the_newest_revision_and_a_manifest_without_it_too() -> None:
    assert ImageSpec(28, 28, 1).revision == SPEC_REVISION == 3
    assert ImageSpec.from_mapping({"height": 28, "width": 28, "channels": 1}).revision == 3


def test_the_json_form_of_revision_1_is_what_it_was() -> None:
    assert ImageSpec(28, 28, 1, revision=1).to_mapping() == {
        "height": 28,
        "width": 28,
        "channels": 1,
        "fit": "stretch",
        "resample": "bilinear",
        "polarity": "keep",
        "pad_value": 0,
        "revision": 1,
    }


@pytest.mark.parametrize("change", [{"polarity": "auto"}, {"centre": "mass"}])
def test_revision_1_has_neither_auto_nor_mass(change: dict[str, str]) -> None:
    with pytest.raises(InvalidManifest, match="came with revision 2"):
        ImageSpec.from_mapping({"height": 28, "width": 28, "channels": 1, "revision": 1, **change})


@pytest.mark.parametrize("change", [{"fit": "pad"}, {"fit": "crop"}, {"pad_value": 3}])
def test_centring_by_mass_takes_no_fit(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest, match="leave out fit and pad_value"):
        ImageSpec.from_mapping({"height": 28, "width": 28, "channels": 1, "centre": "mass", **change})
