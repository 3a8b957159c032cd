"""The geometry of a model's input, as data that travels with the model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headway_contract.errors import InvalidManifest

SPEC_REVISION = 3
"""The revision of :class:`ImageSpec` written today."""

KNOWN_REVISIONS = (1, 2, 3)
"""The revisions that this release follows. A version with another one is not admitted."""

FITS = ("stretch", "crop", "pad")
RESAMPLES = ("nearest", "bilinear", "bicubic", "lanczos")
POLARITIES = ("keep", "light_on_dark", "auto")
CENTRES = ("frame", "mass")
CHANNELS = (1, 3)


@dataclass(frozen=True)
class ImageSpec:
    """The geometry of one model's input: everything between a decoded picture and ``uint8[height, width, channels]``.

    * ``height``, ``width``: pixels, 1 to 4096. ``channels``: 1 (grayscale, ITU-R 601 luma) or 3 (RGB).
    * ``fit``: ``stretch`` ignores the aspect ratio, ``crop`` fills the frame and cuts the longer side at the centre,
      ``pad`` shows the whole picture centred on ``pad_value``.
    * ``resample``: the filter used when the size changes: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``
      (all but ``nearest`` are antialiased).
    * ``polarity``: ``keep``, or ``light_on_dark``: a picture whose border is light (median of its outermost
      pixels above 127) is inverted, so that ink on paper looks like the light strokes on black of MNIST; or ``auto``:
      drawn or photographed strokes, darker or lighter than what they are on, become light strokes on black, unevenly
      lit paper included (:mod:`headway_contract.strokes`). ``auto`` works on luma; three channels are then alike.
    * ``centre``: ``frame``, the picture is fitted as ``fit`` says; or ``mass``: the strokes alone, light on black, are
      brought into a box of 20/28 of the frame and their centre of mass to the frame's centre, as MNIST's digits are
      (:mod:`headway_contract.strokes`). ``fit`` and ``pad_value`` then have no part and must be left out.
    * ``pad_value``: 0 to 255, the border that ``pad`` adds, after polarity.
    * ``revision``: of these rules; a reader that does not know it must refuse the model. Revision 1 has neither
      ``auto`` nor ``mass``. Since revision 2 a JPEG much larger than what is made of it is decoded at 1/2, 1/4 or 1/8
      of its size, and its own luma is a model's single channel (:func:`headway_contract.preprocessing.decode_image`);
      since revision 3 earlier, so that a photo for a frame half as large costs half.

    Raises :class:`InvalidManifest` for values outside these ranges.
    """

    height: int
    width: int
    channels: int
    fit: str = "stretch"
    resample: str = "bilinear"
    polarity: str = "keep"
    pad_value: int = 0
    revision: int = SPEC_REVISION
    centre: str = "frame"

    def __post_init__(self) -> None:
        _require(
            _is_int(self.revision) and self.revision in KNOWN_REVISIONS,
            f"revision {self.revision!r} is unknown to this release",
        )
        for side in ("height", "width"):
            value = getattr(self, side)
            _require(_is_int(value) and 1 <= value <= 4096, f"{side} must be 1 to 4096 pixels, not {value!r}")
        _require(
            _is_int(self.channels) and self.channels in CHANNELS,
            f"channels must be 1 or 3, not {self.channels!r}",
        )
        for name, allowed in (("fit", FITS), ("resample", RESAMPLES), ("polarity", POLARITIES), ("centre", CENTRES)):
            value = getattr(self, name)
            # Tuples are searched by equality, for values that cannot be hashed.
            _require(value in allowed, f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        _require(
            _is_int(self.pad_value) and 0 <= self.pad_value <= 255,
            f"pad_value must be 0 to 255, not {self.pad_value!r}",
        )
        self._check_strokes()

    def _check_strokes(self) -> None:
        """What ``auto`` and ``mass`` cannot be combined with."""
        if self.centre == "mass":
            _require(
                self.fit == "stretch" and self.pad_value == 0,
                "centre mass places the strokes itself; leave out fit and pad_value",
            )
        if self.revision == 1:
            _require(
                self.polarity != "auto" and self.centre == "frame",
                "polarity auto and centre mass came with revision 2; set revision = 2 or leave it out",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels, in the order of the model's input."""
        return (self.height, self.width, self.channels)

    def to_mapping(self) -> dict[str, Any]:
        """Return the JSON form: every field that the revision has, by name."""
        mapping = asdict(self)
        if self.revision == 1:
            del mapping["centre"]
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ImageSpec":
        """Read the JSON form. Raises :class:`InvalidManifest` for missing, unknown or impossible fields."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(mapping) - known)
        # A key this release does not know would change the pixels in a way it cannot follow.
        _require(not unknown, f"unknown key {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        missing = sorted({"height", "width", "channels"} - set(mapping))
        _require(not missing, f"missing {', '.join(missing)}")
        return cls(**mapping)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InvalidManifest(f"image spec: {problem}")
