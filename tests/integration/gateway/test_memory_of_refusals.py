"""What a refused request held returns at once: on a gateway whose cycle collector never runs.

An error that is kept, with the frames that it and its causes passed, kept pictures and bodies until Python looked for
cycles: a 388 KB PNG left 190 MB behind, and sixteen of them took a gateway from 1 to 4 GB.
"""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from headway_contract.preprocessing import ImageSpec
from tests.fakes.scripted_models import Fault, scripted_version
from tests.integration.gateway.gateway_under_test import CLASSIFY, as_json, as_parts, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway

WITHOUT_COLLECTOR = [
    sys.executable, "-c",
    "import gc; gc.disable(); from headway_serving.gateway.__main__ import main; raise SystemExit(main())",
]  # fmt: skip
LARGE = ImageSpec(height=1000, width=1000, channels=3)
ROUNDS = 12
ALLOWED = 60 * 2**20


def photo(kind: str, **options: Any) -> bytes:
    """12 megapixels, or 5: 36 MB once decoded, or 15; with noise, which no format makes small, in the middle."""
    # What is stored as it is would be larger than a picture may be.
    height, width = (2000, 2500) if kind in ("BMP", "TIFF") else (3000, 4000)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[1000:1500, 1000:1500] = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind, **options)
    return written.getvalue()


def cut(kind: str, **options: Any) -> bytes:
    whole = photo(kind, **options)
    return whole[: len(whole) * 9 // 10]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    versions = {
        1: scripted_version(image=LARGE),
        2: scripted_version(image=LARGE, fault=Fault.REFUSES_ROWS),
        3: scripted_version(image=LARGE, fault=Fault.NOT_A_NUMBER),
    }
    with live_gateway(
        tmp_path_factory.mktemp("memory"),
        WITHOUT_COLLECTOR,
        versions=versions,
        MAX_IN_FLIGHT=4,
        MAX_BATCH_ROWS=1,
        QUEUE_TARGET_MS=1,
    ) as running:
        yield running


def encoded(**form: Any) -> dict[str, Any]:
    if "json" in form:
        return form
    return {"files": [("image", (name, data.read())) for data, name in form["data"]["image"]]}


def body(data: bytes) -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": "image/png"}}


def hurried(data: bytes, milliseconds: int = 30) -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": "image/png", "X-Request-Timeout-Ms": f"{milliseconds}"}}


NOISE = np.random.default_rng(0).bytes(15_000_000)
REFUSALS: dict[str, tuple[str, dict[str, Any], set[int]]] = {
    **{f"{kind} cut": (CLASSIFY, body(cut(kind)), {422}) for kind in ("PNG", "GIF", "TIFF", "BMP", "WEBP")},
    "JPEG cut": (CLASSIFY, body(cut("JPEG", quality=95)), {422}),
    "progressive JPEG cut": (CLASSIFY, body(cut("JPEG", quality=95, progressive=True)), {422}),
    "AVIF cut": (CLASSIFY, body(cut("AVIF", speed=10)), {422}),
    "32-bit samples": (CLASSIFY, body(NOISE[:0] + b"II*\0" + NOISE[:10_000_000]), {415, 422}),
    "no picture": (CLASSIFY, body(NOISE), {415}),
    "a form of pictures that are cut": (CLASSIFY, encoded(**as_parts(cut("PNG"), cut("BMP"))), {200}),
    "no picture in JSON": (CLASSIFY, encoded(**as_json(NOISE[:10_000_000])), {415}),
    "no model": ("/v1/models/letters:classify", body(NOISE), {404}),
    "no version": ("/v1/models/digits/versions/9:classify", body(photo("PNG")), {404}),
    "a failed batch": ("/v1/models/digits/versions/2:classify", body(photo("PNG")), {502}),
    "broken scores": ("/v1/models/digits/versions/3:classify", body(photo("PNG")), {502}),
    "several models": ("/v1/classify?model=digits&model=letters", body(cut("PNG")), {200}),
    "too late": (CLASSIFY, hurried(photo("PNG")), {504}),
    "infer": ("/v2/models/digits/infer", {"content": b"{" + NOISE}, {400}),
    "too large": (CLASSIFY, body(NOISE * 3), {413}),
}


@pytest.mark.parametrize(("path", "request_of", "statuses"), REFUSALS.values(), ids=REFUSALS)
def test_memory_returns_without_the_collector(
    gateway: LiveGateway, path: str, request_of: dict[str, Any], statuses: set[int]
) -> None:
    with httpx.Client(base_url=gateway.url, timeout=60) as client:

        def send(count: int) -> None:
            for _ in range(count):
                response = client.post(path, **request_of)
                assert response.status_code in statuses, response.text

        send(3)
        before = gateway.memory()
        send(ROUNDS)
        assert gateway.memory() < before + ALLOWED


def test_memory_of_pictures_that_are_turned_away_returns(gateway: LiveGateway) -> None:
    """Overload: four fit into the memory for decoding, and of sixteen many wait longer than they have."""
    good = hurried(photo("PNG"), 1000)

    def send(_: int) -> int:
        with httpx.Client(base_url=gateway.url, timeout=60) as client:
            return client.post(CLASSIFY, **good).status_code

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(send, range(32)))
        before = gateway.memory()
        statuses = list(clients.map(send, range(96)))
    assert {200, 503} <= set(statuses) <= {200, 503, 504}
    assert gateway.memory() < before + 2 * ALLOWED


def test_two_hundred_refused_pictures_leave_a_gateway_where_it_was(tmp_path: Path) -> None:
    """With the collector on, as everybody runs it."""
    bad = [cut("PNG"), cut("JPEG", quality=95), NOISE[:1_000_000]]
    with live_gateway(tmp_path) as gateway, httpx.Client(base_url=gateway.url, timeout=60) as client:
        for each in bad:
            client.post(CLASSIFY, **body(each))
        before = gateway.memory()
        for number in range(200):
            assert client.post(CLASSIFY, **body(bad[number % len(bad)])).status_code in (415, 422)
        assert client.post(CLASSIFY, **body(picture(3))).status_code == 200
        assert gateway.memory() < before + ALLOWED
