"""HEIC, what phones make by default, read by libheif where the package pi-heif is installed (the extra ``heif``).

What turns the picture upright (``irot``, ``imir``) libheif does; EXIF's orientation, which phones write as well, must
then not be applied again (ISO/IEC 23008-12, 6.5.10).
"""

import importlib.util
import io

from PIL import Image

INSTALLED = importlib.util.find_spec("pi_heif") is not None
"""Whether HEIC can be read here."""


class HeicPicture:
    """A HEIC file that is opened and not decoded; ``size``: width and height of what is shown first, upright.

    Raises what libheif raises.
    """

    def __init__(self, data: bytes) -> None:
        import pi_heif  # noqa: PLC0415  # 15 MB that only HEIC needs
        from pi_heif import options  # noqa: PLC0415

        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        options.DECODE_THREADS = 1
        self._file = pi_heif.open_heif(io.BytesIO(data))
        self.size: tuple[int, int] = self._file.size

    def decoded(self) -> Image.Image:
        """The picture, with 8 bits a sample."""
        image: Image.Image = self._file.to_pillow()
        return image
