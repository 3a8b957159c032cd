"""The kinds of pictures that are measured, the models that answer them, the loads, and what is to be reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bars:
    """What is to be reached beside the better plain service; None: nothing.

    ``rate``: at least so many times its answers a second. ``p50``, ``p99``, ``cpu``: at most this share of its latency
    and of its CPU for an answer. ``of_best``: at least this share of our own answers a second under the main load, and
    nothing refused.
    """

    rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None
    of_best: float | None = None


@dataclass(frozen=True)
class Shape:
    """A load: so many ``connections`` that ask again as soon as they are answered.

    With ``share``, requests come at their own times instead, at this share of what the system answers under the main
    load, over at most so many connections.
    """

    connections: int
    bars: Bars = Bars()  # frozen
    share: float | None = None

    @property
    def name(self) -> str:
        """In words."""
        if self.share is not None:
            return f"open loop at {self.share:g} of its own rate"
        return f"{self.connections} connection{'s' if self.connections > 1 else ''}"


@dataclass(frozen=True)
class Case:
    """One kind of traffic.

    ``recipes`` are trained in that order if ``model``, the last of them, is not there yet. ``shapes``: its loads, the
    main one first.
    """

    name: str
    pictures: str
    recipes: tuple[str, ...]
    content_type: str
    shapes: tuple[Shape, ...]

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.recipes[-1]

    @property
    def connections(self) -> int:
        """Of the main load."""
        return self.shapes[0].connections


_DIGITS = ("digits-5to9", "digits-0to4")
_MANY, _SHARE = 512, 0.6
_ALL = Bars(of_best=0.95)

CASES = {
    case.name: case
    for case in (
        Case(
            "digits",
            "28x28 PNG, digits head",
            _DIGITS,
            "image/png",
            (
                Shape(32, Bars(rate=2.2, p99=0.5, cpu=0.4)),
                Shape(1, Bars(p50=1.3)),
                Shape(64, _ALL),
                Shape(256, _ALL),
                Shape(_MANY, share=_SHARE),
            ),
        ),
        Case(
            "photos",
            "640x427 JPEG, EfficientNet-Lite0 head",
            ("clothing",),
            "image/jpeg",
            (
                Shape(8, Bars(rate=1.5, p99=0.7, cpu=0.7)),
                Shape(1, Bars(p50=0.75)),
                Shape(32, _ALL),
                Shape(_MANY, share=_SHARE),
            ),
        ),
        Case(
            "camera", "3000x2000 JPEG with a sensor's noise, digits head", _DIGITS, "image/jpeg",
            (Shape(8, Bars(rate=1.8)),),
        ),
        Case(
            "camera-denoised", "3000x2000 JPEG without noise, digits head", _DIGITS, "image/jpeg",
            (Shape(8, Bars(rate=2.9)),),
        ),
    )
}  # fmt: skip
