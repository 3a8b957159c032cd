"""A valid manifest and small pictures, for the contract's tests."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from headway_contract.model_manifest import (
    Accuracy,
    BaseReference,
    GoldenSample,
    ModelManifest,
    Precision,
    Provenance,
)
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_contract.preprocessing import ImageSpec


def manifest(**changes: Any) -> ModelManifest:
    """A head's manifest with two classes; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "model": "letters",
        "kind": "head",
        "labels": ("a", "b"),
        "image": ImageSpec(28, 28, 1, polarity="light_on_dark"),
        "test_accuracy": Accuracy(0.9, 0.82, 0.95, 100),
        "weights_digest": "sha256:00",
        "provenance": Provenance("2026-01-02T03:04:05+00:00", 1, {"seed": 1}, "sha256:11", {"python": "3.11"}),
        "parameters": 30,
        "trainable_parameters": 20,
        "base": BaseReference("strokes", 3, "sha256:22"),
        "golden": (GoldenSample(b"\x89PNG", "a", (0.75, 0.25)),),
    }
    return ModelManifest(**(fields | changes))


def measured_in_bfloat16(*, allowed: bool = True) -> Precision:
    """What a version says of bfloat16."""
    return Precision("bfloat16", allowed, 200, 0.995, 0.9, 0.9, 1.0, 0.05, 0.021, 0.02, 0.04)


def publish(repository: ModelRepository, content: bytes = b"weights", version: int | None = None) -> int:
    """Publish a version of ``letters`` that holds one file beside its manifest; return its number."""
    with repository.staging("letters") as staged:
        write_version(staged, content)
        return repository.publish("letters", staged, version)


def write_version(staged: Path, content: bytes = b"weights") -> None:
    """Write what a version of ``letters`` must hold into a staging directory."""
    (staged / MANIFEST_FILE.parent).mkdir()
    (staged / MANIFEST_FILE).write_text(manifest().to_json(), encoding="utf-8")
    (staged / "variables").mkdir()
    (staged / "variables" / "data").write_bytes(content)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be that large (8-bit grayscale)."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
