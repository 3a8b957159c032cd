"""Many images are divided into requests that a gateway takes, and the answers are one."""

from collections.abc import Sequence

import pytest

from headway_client import Client
from headway_client.errors import ProblemError, UnsupportedInput
from headway_client.pieces import classify_in_pieces, divided
from headway_client.protocol import Options
from headway_client.results import Classification, Prediction, Result
from tests.unit.client.client_fake_gateway import FakeGateway
from tests.unit.client.test_client import png


class Gateway:
    """Takes so many images at a time; its version changes after ``changes_after`` requests."""

    def __init__(self, most: int, changes_after: int = 1000) -> None:
        self.most, self.changes_after = most, changes_after
        self.asked: list[tuple[int, Options]] = []

    def __call__(self, images: Sequence[bytes], options: Options) -> Classification:
        self.asked.append((len(images), options))
        if len(images) > self.most:
            raise ProblemError(413, "too_many_images", "", f"{len(images)} were sent", "r", None)
        version = options.version or (1 if len(self.asked) <= self.changes_after else 2)
        results = tuple(Result(index, (Prediction(each.decode(), 1.0),)) for index, each in enumerate(images))
        return Classification("digits", version, "stable", results, options.request_id or "made")


def images(count: int) -> list[bytes]:
    return [str(index).encode() for index in range(count)]


def test_a_hundred_pictures_are_classified_by_two_requests(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client:
        answer = client.classify_many([png(1 + index, 2) for index in range(100)], model="digits")
    assert [len(seen.images) for seen in gateway.seen] == [64, 36]
    assert [(each.index, each.top.label) for each in answer.results] == [(i, f"{1 + i}x2") for i in range(100)]
    # One id, by which the routing chooses one version, and by which feedback finds each picture.
    assert {seen.headers["x-request-id"] for seen in gateway.seen} == {answer.request_id}
    assert answer.feedback("x", 99).index == 99


def test_pieces_have_so_many_bytes_at_most() -> None:
    sizes = [10_000_000] * 5 + [30_000_000] + [1]
    assert [[len(each) for each in piece] for piece in divided([bytes(size) for size in sizes])] == [
        [10_000_000] * 2,
        [10_000_000] * 2,
        [10_000_000],
        [30_000_000],
        [1],
    ]


def test_what_is_too_much_for_a_gateway_is_halved() -> None:
    gateway = Gateway(most=3)
    answer = classify_in_pieces(images(10), Options(), gateway)
    assert [each.top.label for each in answer.results] == [str(index) for index in range(10)]
    assert len({options.request_id for _, options in gateway.asked[1:]}) == 1


def test_one_picture_that_is_too_much_is_the_gateways_refusal() -> None:
    with pytest.raises(ProblemError, match="1 were sent"):
        classify_in_pieces(images(2), Options(), Gateway(most=0))


def test_one_version_answers_for_all_of_them() -> None:
    gateway = Gateway(most=64, changes_after=1)
    answer = classify_in_pieces(images(130), Options(), gateway)
    assert answer.version == 1
    assert [options.version for _, options in gateway.asked] == [None, None, 1, None, 1]


def test_no_picture_is_refused(gateway: FakeGateway) -> None:
    with Client(gateway.url) as client, pytest.raises(UnsupportedInput, match="no image"):
        client.classify_many([], model="digits")
