"""The pixels that reach the model server are those that training's side makes of the same picture, bit for bit."""

from collections.abc import Callable

import numpy as np
import pytest

from headway_serving.settings import GatewaySettings
from tests.fakes.scripted_models import scripted_version
from tests.golden.golden_set import CASES, GoldenCase, digest
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, as_body, as_json, as_parts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_golden_pictures_arrive_as_golden_pixels(start: Callable[..., GatewayUnderTest], case: GoldenCase) -> None:
    gateway = start(settings=GatewaySettings())
    gateway.versions["digits"][1] = scripted_version(image=case.spec)
    picture = case.path.read_bytes()
    for form in (as_body, as_parts, as_json):
        assert gateway.post(**form(picture)).status_code == 200
        (_, pixels) = gateway.server.predicted[-1]
        assert pixels.dtype == np.uint8
        assert pixels.shape == (1, *case.shape)
        assert digest(pixels[0]) == case.digest
