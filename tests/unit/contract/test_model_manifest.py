"""The manifest's JSON gives the manifest back; anything else is refused with the field that is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_contract.errors import InvalidManifest
from headway_contract.model_manifest import (
    Abstention,
    Accuracy,
    Calibration,
    ClassFigures,
    GoldenSample,
    ModelManifest,
    Provenance,
)
from tests.support.contract_examples import manifest, measured_in_bfloat16

SHARES = st.floats(0, 1)
LABELS = st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True).map(tuple)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(key: str, value: Any) -> str:
    """A valid manifest's JSON with one (dotted) key replaced."""
    mapping = json.loads(manifest().to_json())
    section = mapping
    *path, last = key.split(".")
    for part in path:
        section = section[int(part) if part.isdecimal() else part]
    section[last] = value
    return json.dumps(mapping)


@settings(deadline=None)
@given(
    labels=LABELS,
    image=st.binary(),
    data=st.data(),
    accuracy=st.builds(Accuracy, SHARES, SHARES, SHARES, st.integers(1)),
    recipe=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    commit=st.none() | st.text(),
)
def test_json_gives_the_manifest_back(
    labels: tuple[str, ...],
    image: bytes,
    data: st.DataObject,
    accuracy: Accuracy,
    recipe: dict[str, Any],
    commit: str | None,
) -> None:
    scores = data.draw(st.tuples(*[st.floats(0, 1, width=32) for _ in labels]))
    original = manifest(
        labels=labels,
        test_accuracy=accuracy,
        golden=(GoldenSample(image, data.draw(st.sampled_from(labels)), scores),),
        provenance=Provenance("2026-01-02T03:04:05+00:00", 7, recipe, "sha256:11", {"python": "3.11"}, commit),
    )
    assert ModelManifest.from_json(original.to_json()) == original
    assert ModelManifest.from_json(original.to_json().encode()) == original


BACKBONE: dict[str, Any] = {
    "kind": "base", "form": "features", "labels": (), "base": None, "golden": (), "test_accuracy": None,
}  # fmt: skip
MEASURED: dict[str, Any] = {
    "classes": (ClassFigures("a", 0.5, 1.0, 40), ClassFigures("b", 0.0, 0.0, 60)),
    "baselines": {"majority class": 0.6, "linear": 1.0},
    "calibration": Calibration(temperature=1.5, error_before=0.1, error_after=0.02),
    "abstention": Abstention(threshold=0.7, coverage=0.8, risk=0.05),
    "precisions": (measured_in_bfloat16(),),
}


@pytest.mark.parametrize("changes", [BACKBONE, {"form": "on_base"}, {"kind": "base", "base": None}, MEASURED])
def test_every_form_and_figure_is_read_back(changes: dict[str, Any]) -> None:
    original = manifest(**changes)
    assert ModelManifest.from_json(original.to_json()) == original


def test_a_manifest_of_an_older_release_is_standalone_and_without_figures() -> None:
    mapping = json.loads(manifest(**MEASURED).to_json())
    for key in ("form", *MEASURED):
        del mapping[key]
    assert ModelManifest.from_json(json.dumps(mapping)) == manifest()
    assert manifest().form == "standalone"


def test_golden_samples_may_lie_as_far_off_as_the_precisions_that_are_allowed_say() -> None:
    assert manifest().golden_tolerance(0.001) == 0.001
    assert manifest().precision("bfloat16") is None
    for allowed, tolerance in ((True, 0.04), (False, 0.001)):
        described = manifest(precisions=(measured_in_bfloat16(allowed=allowed),))
        assert described.golden_tolerance(0.001) == tolerance
        assert described.precision("bfloat16") == described.precisions[0]


@pytest.mark.parametrize(("key", "value"), [("allowed", 1), ("allowed", "yes"), ("agreement", True), ("samples", 0.5)])
def test_a_precision_of_wrong_types_is_refused(key: str, value: Any) -> None:
    mapping = json.loads(manifest(precisions=(measured_in_bfloat16(),)).to_json())
    mapping["precisions"][0][key] = value
    with pytest.raises(InvalidManifest, match=f"precisions.{key} cannot be"):
        ModelManifest.from_json(json.dumps(mapping))


def test_equal_manifests_give_equal_texts() -> None:
    assert manifest().to_json() == manifest().to_json()
    assert ModelManifest.from_json(manifest().to_json()).to_json() == manifest().to_json()


def test_facts_that_a_later_release_adds_are_ignored() -> None:
    for key in ("colour", "provenance.machine", "test_accuracy.top_5", "base.url", "golden.0.note"):
        assert ModelManifest.from_json(changed(key, 1)) == manifest()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema": 2}, "schema 2 is unknown"),
        ({"kind": "tail"}, "kind must be base or head, not 'tail'"),
        ({"form": "halves"}, "form must be one of standalone, features, on_base, not 'halves'"),
        ({"form": "on_base", "kind": "base", "base": None}, "only a head stands on a base"),
        ({"form": "features"}, "only a base without labels gives features alone"),
        (BACKBONE | {"labels": ("a", "b")}, "only a base without labels gives features alone"),
        (BACKBONE | {"form": "standalone"}, "at least two classes, not 0"),
        ({"test_accuracy": None}, "test_accuracy is missing"),
        ({"form": "on_base", "test_accuracy": None}, "test_accuracy is missing"),
        ({"labels": ("a",), "golden": ()}, "at least two classes, not 1"),
        ({"labels": ("a", "")}, "non-empty"),
        ({"labels": ("a", "a")}, "differ from each other"),
        ({"kind": "base"}, "a head names its base, a base names none"),
        ({"base": None}, "a head names its base, a base names none"),
        ({"golden": (GoldenSample(b"", "c", (0.5, 0.5)),)}, "'c' is not one of the labels"),
        ({"golden": (GoldenSample(b"", "a", (1.0,)),)}, "one score per label"),
    ],
)
def test_an_impossible_manifest_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidManifest, match=problem):
        manifest(**changes)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidManifest, match="JSON"):
        ModelManifest.from_json(text)


@pytest.mark.parametrize(
    "key", ["model", "kind", "labels", "image", "test_accuracy", "weights_digest", "provenance", "parameters", "schema"]
)
def test_a_missing_field_is_named(key: str) -> None:
    mapping = json.loads(manifest().to_json())
    del mapping[key]
    with pytest.raises(InvalidManifest, match=key):
        ModelManifest.from_json(json.dumps(mapping))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("schema", 2, "schema 2"),
        ("schema", True, "schema"),
        ("model", 5, "model cannot be 5"),
        ("parameters", "30", "parameters cannot be '30'"),
        ("parameters", True, "parameters cannot be True"),
        ("weights_digest", None, "weights_digest cannot be None"),
        ("labels", "ab", "labels must be a list"),
        ("labels", ["a", 2], "labels must be non-empty texts"),
        ("image", None, "image must be an object"),
        ("image.height", 0, "height"),
        ("image.gamma", 2, "unknown key gamma"),
        ("image.revision", 4, "revision 4"),
        ("base", "strokes/3", "base must be an object"),
        ("base.version", "3", "base.version cannot be '3'"),
        ("test_accuracy", 0.9, "test_accuracy must be an object"),
        ("test_accuracy.value", "high", "test_accuracy.value cannot be 'high'"),
        ("test_accuracy.samples", 1.5, "test_accuracy.samples cannot be 1.5"),
        ("provenance", [], "provenance must be an object"),
        ("provenance.recipe", None, "provenance.recipe cannot be None"),
        ("form", 1, "form cannot be 1"),
        ("classes", {}, "classes must be a list"),
        ("classes", [0.5], "classes must be an object"),
        ("classes", [{"label": "a", "precision": "high", "recall": 1, "samples": 1}], "classes.precision cannot be"),
        ("classes", [{"label": "a"}], "malformed"),
        ("baselines", [0.5], "baselines cannot be"),
        ("calibration", 1.5, "calibration must be an object"),
        ("calibration", {"temperature": "1", "error_before": 0, "error_after": 0}, "calibration.temperature cannot be"),
        ("abstention", {"threshold": 0.5}, "malformed"),
        ("golden", {}, "golden must be a list"),
        ("golden", ["picture"], "malformed"),
        ("golden.0.image", "not base64!", "base64"),
        ("golden.0.scores", [0.5, "many"], "many"),
        ("golden.0.scores", [0.5, float("nan")], "NaN"),
    ],
)  # fmt: skip
def test_a_malformed_field_is_named(key: str, value: Any, named: str) -> None:
    with pytest.raises(InvalidManifest, match=named):
        ModelManifest.from_json(changed(key, value))


@settings(deadline=None)
@given(
    key=st.sampled_from(sorted(json.loads(manifest().to_json())))
    | st.sampled_from(["provenance.seed", "golden.0.image"]),
    value=JSON_VALUES,
)
def test_any_value_anywhere_gives_a_manifest_or_invalid_manifest(key: str, value: Any) -> None:
    text = changed(key, value)
    try:
        read = ModelManifest.from_json(text)
    except InvalidManifest:
        return
    assert ModelManifest.from_json(read.to_json()) == read
