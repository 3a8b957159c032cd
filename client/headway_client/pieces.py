"""Many images in several requests, whose answers become one: a gateway takes so many images and bytes at once."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from headway_client.errors import ProblemError
from headway_client.protocol import Options
from headway_client.results import Classification

MOST_IMAGES = 64
MOST_BYTES = 24 * 1024 * 1024
"""Of one request: the gateway's defaults, less what a form adds."""

TOO_MUCH = ("too_many_images", "payload_too_large")

Ask = Callable[[Sequence[bytes], Options], Classification]


def classify_in_pieces(images: Sequence[bytes], options: Options, ask: Ask) -> Classification:
    """The answer to all images, by as few requests as go; `ask` makes one. One version answers for all of them.

    A piece that is too much for the gateway is halved. All requests have one id, by which the routing chooses the same
    version for them; where that changes meanwhile, the rest is asked of the version that answered first.
    """
    pieces = list(divided(images))
    if len(pieces) > 1 and options.request_id is None:
        options = replace(options, request_id=uuid.uuid4().hex)
    answers: list[Classification] = []
    while pieces:
        piece = pieces.pop(0)
        try:
            answer = ask(piece, options)
            if answers and answer.version != answers[0].version:
                answer = ask(piece, replace(options, version=answers[0].version, label=None))
        except ProblemError as error:
            if error.code not in TOO_MUCH or len(piece) == 1:
                raise
            if options.request_id is None:
                options = replace(options, request_id=uuid.uuid4().hex)
            half = len(piece) // 2
            pieces[:0] = [piece[:half], piece[half:]]
        else:
            answers.append(answer)
    return joined(answers)


def divided(images: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The images in their order, in pieces that a gateway takes; one image alone is a piece, however large it is."""
    start, size = 0, 0
    for index, image in enumerate(images):
        if index > start and (index - start == MOST_IMAGES or size + len(image) > MOST_BYTES):
            yield images[start:index]
            start, size = index, 0
        size += len(image)
    yield images[start:]


def joined(answers: Sequence[Classification]) -> Classification:
    """One answer, whose results count on from piece to piece."""
    if len(answers) == 1:
        return answers[0]
    results = [result for answer in answers for result in answer.results]
    counted = tuple(replace(result, index=index) for index, result in enumerate(results))
    return replace(answers[0], results=counted)
