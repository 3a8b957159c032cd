"""The one thing that is read of EXIF: which way up a picture is.

Pillow would parse every tag and the folders they point to, in Python, at the cost that a sender chooses.
"""

import struct

_ORIENTATION = 0x0112
_TYPES = {1: "B", 3: "H", 4: "I"}  # what writers store the orientation as: BYTE, SHORT, LONG
_MOST_TAGS = 1000
_PREFIX = b"Exif\0\0"


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that EXIF data (a TIFF header and its first directory) states; 1 if it states none.

    Source: CIPA DC-008 (Exif 2.32), section 4.6. Never raises: damaged EXIF does not make a picture unreadable.
    """
    while exif.startswith(_PREFIX):  # some programs write it twice
        exif = exif[len(_PREFIX) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * min(count, _MOST_TAGS), 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _ORIENTATION and kind in _TYPES and values == 1:
                (stated,) = struct.unpack_from(order + _TYPES[kind], exif, entry + 8)
                return int(stated) if 1 <= stated <= 8 else 1
    except struct.error:
        pass
    return 1
