"""How TensorFlow packs strings into ``tensor_content``: all lengths as base-128 varints, then all bytes."""

from collections.abc import Sequence

_VARINT_BYTES = 10
"""A varint of 64 bits. Without a bound, a long run of high bytes would be read into ever larger numbers."""


def pack(values: Sequence[bytes]) -> bytes:
    """Pack strings; the shape, and with it their number, travels elsewhere."""
    return b"".join(varint(len(value)) for value in values) + b"".join(values)


def unpack(content: bytes, count: int) -> list[bytes]:
    """Undo :func:`pack` for ``count`` strings. Raises ValueError if ``content`` is not exactly so many."""
    lengths: list[int] = []
    position = 0
    for _ in range(count):
        length, position = _read_varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("tensor_content does not hold the strings it announces")
    values: list[bytes] = []
    for length in lengths:
        values.append(content[position : position + length])
        position += length
    return values


def varint(number: int) -> bytes:
    """Return ``number``, at least 0, as a base-128 varint."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    number = 0
    for index, byte in enumerate(content[position : position + _VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("tensor_content ends within a length, or holds a length of more than 64 bits")
