"""The kinds of pictures that are measured, the models that answer them, and what is to be reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One kind of traffic.

    ``recipes`` are trained in that order if ``model``, the last of them, is not there yet. ``throughput_bar``: at least
    so many times the answers per second of the better plain service; ``cpu_bar``: at most this share of its CPU.
    """

    name: str
    pictures: str
    recipes: tuple[str, ...]
    connections: int
    content_type: str
    throughput_bar: float
    cpu_bar: float | None = None

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.recipes[-1]


_DIGITS = ("digits-5to9", "digits-0to4")

CASES = {
    case.name: case
    for case in (
        Case("digits", "28x28 PNG, digits head", _DIGITS, 32, "image/png", 2.0, 0.5),
        Case("photos", "640x427 JPEG, EfficientNet-Lite0 head", ("clothing",), 8, "image/jpeg", 1.2),
        Case("camera", "3000x2000 JPEG with a sensor's noise, digits head", _DIGITS, 8, "image/jpeg", 4.0),
        Case("camera-denoised", "3000x2000 JPEG without noise, digits head", _DIGITS, 8, "image/jpeg", 4.0),
    )
}
