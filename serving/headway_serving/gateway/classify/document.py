"""A classification as the JSON text that clients get.

Written piece by piece and not by ``json.dumps``, which costs as much as decoding a small picture: the shape is fixed,
and a model's labels are the same in every answer.
"""

import json
from functools import lru_cache

from headway_contract.errors import InvalidImage
from headway_serving.core.classification import Classification, PictureAnswer
from headway_serving.core.requests import Fallback, Progress
from headway_serving.gateway.requests.problems import problem_part


def classification_json(classification: Classification, progress: Progress, request_id: str | None = None) -> str:
    """One model's answer, without a line break; ``request_id`` where it is the whole answer."""
    route = classification.route
    results = ", ".join([_result(index, answer, classification) for index, answer in enumerate(classification.results)])
    best = _best(classification.results[0]) if len(classification.results) == 1 else ""
    failed = "" if progress.fallback is None else _failed(progress.fallback)
    place = "" if route.position is None else f', "key_position": {route.position:.6f}'
    # An id has no character that JSON would escape.
    asked = "" if request_id is None else f', "request_id": "{request_id}"'
    return (
        f'{{"model": {_text(route.model)}, "version": {route.version}, "arm": "{route.arm.value}"{place}, {best}'
        f'"results": [{results}]{failed}{asked}}}'
    )


def _failed(fallback: Fallback) -> str:
    return f', "fallback": {{"version": {fallback.route.version}, "code": "{fallback.code}"}}'


def _best(answer: PictureAnswer) -> str:
    """Of the only picture: its label and score, so that nobody has to look for them in a list."""
    if isinstance(answer, InvalidImage):
        return ""
    if not answer:
        return '"label": null, "score": null, '
    return f'"label": {_text(answer[0].label)}, "score": {answer[0].score!r}, '


def _result(index: int, answer: PictureAnswer, classification: Classification) -> str:
    if isinstance(answer, InvalidImage):
        return f'{{"index": {index}, "problem": {json.dumps(problem_part(answer), ensure_ascii=False)}}}'
    # repr of a finite float is what json.dumps writes; the core lets no other score through.
    predictions = ", ".join([f'{{"label": {_text(each.label)}, "score": {each.score!r}}}' for each in answer])
    found = classification.familiarities.get(index)
    familiarity = "" if found is None else f', "familiarity": {found:.4f}'
    abstained = f', "abstained": {"false" if answer else "true"}' if classification.abstains else ""
    return f'{{"index": {index}, "predictions": [{predictions}]{familiarity}{abstained}}}'


@lru_cache(maxsize=65536)
def _text(text: str) -> str:
    """A name or label, which come again and again, as a JSON string."""
    return json.dumps(text, ensure_ascii=False)
