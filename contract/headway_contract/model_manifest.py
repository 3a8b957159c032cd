"""What a model version says of itself: labels, geometry, base, metrics, golden samples and provenance.

The manifest travels inside the SavedModel (signature ``manifest``) and beside it (``assets.extra/manifest.json``), the
same JSON in both. It names the model but not the version: the version is the directory's name, given at publishing.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, TypeVar, get_type_hints

from headway_contract.errors import InvalidManifest
from headway_contract.preprocessing import ImageSpec

MANIFEST_SCHEMA = 1
"""The schema written today. A reader that does not know a manifest's schema must not admit the version."""

_T = TypeVar("_T")

# What JSON must hold for a field of each plain type; other fields are read by a function of their own.
_JSON_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    str | None: (str, type(None)),
    float | None: (int, float, type(None)),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    Mapping[str, str]: (dict,),
    Mapping[str, float]: (dict,),
    Mapping[str, Any]: (dict,),
}

FORMS = ("standalone", "features", "on_base")
"""What a version's graph takes and gives; see :class:`ModelManifest`."""


@dataclass(frozen=True)
class BaseReference:
    """The base a head was trained on: model name, version, and the digest of that version's files."""

    model: str
    version: int
    digest: str


@dataclass(frozen=True)
class Accuracy:
    """Share of pictures labelled right, 0 to 1, with its 95 % Wilson interval and the number of pictures."""

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class ClassFigures:
    """One class on the test split: precision and recall, 0 to 1, and how many pictures truly are of it.

    The precision of a class that was never predicted is 0.
    """

    label: str
    precision: float
    recall: float
    samples: int


@dataclass(frozen=True)
class Calibration:
    """How far scores can be read as probabilities.

    ``temperature``: what the logits were divided by, fitted on the validation split; the exported scores are the
    calibrated ones. ``error_before`` and ``error_after``: expected calibration error on the test split, 0 to 1.
    """

    temperature: float
    error_before: float
    error_after: float


@dataclass(frozen=True)
class Abstention:
    """A suggested ``min_confidence``: below ``threshold`` an answer is better left to a person.

    ``coverage``: share of test pictures answered. ``risk``: share of wrong answers among them. ``bound``: the share of
    wrong answers that is not exceeded with 95 % confidence, of pictures like those that the threshold was chosen on;
    None where there were too few of them to say. All 0 to 1.
    """

    threshold: float
    coverage: float
    risk: float
    bound: float | None = None


@dataclass(frozen=True)
class FamiliarityFigures:
    """Of a version that answers, beside its scores, how much a picture is like those that it learned from, 0 to 1.

    Below ``threshold`` a picture is unlike them: that share of the ``samples`` it was calibrated on lies there, and
    ``test_share`` of the test pictures.
    """

    threshold: float
    samples: int
    test_share: float


@dataclass(frozen=True)
class GoldenSample:
    """One picture with the answer the model gave when it was exported.

    ``image``: encoded picture as it would be posted. ``label``: its true label. ``scores``: float per class, in the
    order of the labels. A host that answers otherwise does not run this model as it was exported.
    """

    image: bytes
    label: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Precision:
    """How a version answers when it is computed in ``name``, a narrower type than its weights', and whether it may.

    Measured at the export, against float32, on the ``samples`` pictures of the validation and test splits.
    ``agreement``: share with the same label. ``accuracy``, ``accuracy_float32``: share labelled right. ``p``: how
    probable so many more mistakes would be if both were equally good (McNemar, exact, one-sided). ``score_shift``: the
    largest difference of a score. ``calibration_error``, ``calibration_error_float32``: expected calibration error on
    the test split. ``golden_tolerance``: how far golden scores may lie from those of the export. All 0 to 1.
    """

    name: str
    allowed: bool
    samples: int
    agreement: float
    accuracy: float
    accuracy_float32: float
    p: float
    score_shift: float
    calibration_error: float
    calibration_error_float32: float
    golden_tolerance: float


BFLOAT16 = "bfloat16"
"""The name of the one narrower type that versions are measured in."""


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from: enough to train them again."""

    created: str
    """UTC time of the export, ISO 8601."""
    seed: int
    recipe: Mapping[str, Any]
    """The whole recipe, every field with the value used."""
    data_digest: str
    """SHA-256 over the pixels and labels of every split."""
    packages: Mapping[str, str]
    git_commit: str | None = None


@dataclass(frozen=True)
class ModelManifest:
    """A model version's description of itself.

    ``kind``: ``base`` or ``head``. ``form``: ``standalone`` (pictures to scores in one graph), ``features`` (a base
    that gives features only, such as a pretrained backbone: no labels, no accuracy) or ``on_base`` (a head that takes
    its base's features). ``labels``: one per class, in the order of the scores. ``weights_digest``: SHA-256 over the
    shapes and values of all weights, base before head. ``baselines``: accuracy on the same test split of simpler
    classifiers, by name. ``familiarity``: None where the version does not answer it. ``precisions``: narrower types
    that it was measured in; none where the machine that exported it has none.
    Raises :class:`InvalidManifest` when a field is impossible.
    """

    model: str
    kind: str
    labels: tuple[str, ...]
    image: ImageSpec
    test_accuracy: Accuracy | None
    weights_digest: str
    provenance: Provenance
    parameters: int
    trainable_parameters: int
    base: BaseReference | None = None
    form: str = "standalone"
    classes: tuple[ClassFigures, ...] = ()
    baselines: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    familiarity: FamiliarityFigures | None = None
    golden: tuple[GoldenSample, ...] = field(default=())
    precisions: tuple[Precision, ...] = ()
    schema: int = MANIFEST_SCHEMA

    def __post_init__(self) -> None:
        _require(self.schema == MANIFEST_SCHEMA, f"schema {self.schema!r} is unknown to this release")
        _require(self.kind in ("base", "head"), f"kind must be base or head, not {self.kind!r}")
        _require(self.form in FORMS, f"form must be one of {', '.join(FORMS)}, not {self.form!r}")
        if self.form == "features":
            _require(self.kind == "base" and not self.labels, "only a base without labels gives features alone")
        else:
            _require(len(self.labels) >= 2, f"labels must name at least two classes, not {len(self.labels)}")
            _require(self.test_accuracy is not None, "test_accuracy is missing")
        _require(self.form != "on_base" or self.kind == "head", "only a head stands on a base")
        _require(all(isinstance(label, str) and label for label in self.labels), "labels must be non-empty texts")
        _require(len(set(self.labels)) == len(self.labels), "labels must differ from each other")
        _require((self.kind == "head") == (self.base is not None), "a head names its base, a base names none")
        for sample in self.golden:
            _require(sample.label in self.labels, f"golden sample: {sample.label!r} is not one of the labels")
            _require(len(sample.scores) == len(self.labels), "golden sample: one score per label is needed")

    def precision(self, name: str) -> Precision | None:
        """What was measured in a narrower type; None if nothing was."""
        return next((each for each in self.precisions if each.name == name), None)

    def golden_tolerance(self, float32: float) -> float:
        """How far golden scores may lie from the export's, in any precision that the version may run in.

        ``float32``: in float32, which other processors and kernels compute a little otherwise.
        """
        return max([float32, *(each.golden_tolerance for each in self.precisions if each.allowed)])

    def to_json(self) -> str:
        """Return the manifest as JSON with sorted keys: equal manifests give equal texts."""
        mapping = asdict(self)
        mapping["golden"] = [
            {**asdict(sample), "image": base64.b64encode(sample.image).decode("ascii")} for sample in self.golden
        ]
        return json.dumps(mapping, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelManifest":
        """Read what :meth:`to_json` wrote. Raises :class:`InvalidManifest` with the field that is wrong.

        Unknown keys are ignored, so that a later release may add facts; what changes the meaning of the pixels
        (:class:`ImageSpec`) is strict, and a changed meaning of the manifest itself has another ``schema``.
        """
        try:
            mapping = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"manifest: not JSON: {error}") from error
        _require(isinstance(mapping, dict), "not a JSON object")
        _require(mapping.get("schema") == MANIFEST_SCHEMA, f"schema {mapping.get('schema')!r} is unknown")
        image = mapping.get("image")
        _require(isinstance(image, dict), "image must be an object")
        for key in ("labels", "golden", "classes", "precisions"):
            _require(isinstance(mapping.get(key, []), list), f"{key} must be a list")
        try:
            values = {
                **mapping,
                "labels": tuple(mapping["labels"]),
                "image": ImageSpec.from_mapping(image),
                "test_accuracy": _read_optional(Accuracy, mapping, "test_accuracy"),
                "provenance": _read(Provenance, mapping["provenance"], "provenance"),
                "base": _read_optional(BaseReference, mapping, "base"),
                "classes": tuple(_read(ClassFigures, item, "classes") for item in mapping.get("classes", ())),
                "calibration": _read_optional(Calibration, mapping, "calibration"),
                "abstention": _read_optional(Abstention, mapping, "abstention"),
                "familiarity": _read_optional(FamiliarityFigures, mapping, "familiarity"),
                "golden": tuple(_read_golden(sample) for sample in mapping.get("golden", ())),
                "precisions": tuple(_read(Precision, item, "precisions") for item in mapping.get("precisions", ())),
            }
            return _read(cls, values, "")
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidManifest(f"manifest: missing or malformed field: {error}") from error


def _read(kind: type[_T], mapping: Any, where: str) -> _T:
    """Make a dataclass of a JSON object, leaving out unknown keys; plain fields must have their type."""
    _require(isinstance(mapping, dict), f"{where} must be an object")
    hints = get_type_hints(kind)
    known = {key: value for key, value in mapping.items() if key in hints}
    for key, value in known.items():
        allowed = _JSON_TYPES.get(hints[key])
        # bool is a subclass of int.
        wrong = allowed is not None and (not isinstance(value, allowed) or isinstance(value, bool) != (bool in allowed))
        _require(not wrong, f"{where}{'.' if where else ''}{key} cannot be {value!r}")
    return kind(**known)


def _read_optional(kind: type[_T], mapping: Mapping[str, Any], key: str) -> _T | None:
    value = mapping.get(key)
    return None if value is None else _read(kind, value, key)


def _read_golden(mapping: Mapping[str, Any]) -> GoldenSample:
    try:
        image = base64.b64decode(mapping["image"], validate=True)
    except binascii.Error as error:
        raise InvalidManifest(f"golden sample: the picture is not base64: {error}") from error
    return GoldenSample(image=image, label=mapping["label"], scores=tuple(map(float, mapping["scores"])))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InvalidManifest(f"manifest: {problem}")
