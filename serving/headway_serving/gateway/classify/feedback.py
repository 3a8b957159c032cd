"""``POST /v1/models/{model}:feedback``: what an answer carried and the truth, told later, to whichever gateway."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Blueprint, Response, request

from headway_serving.core.errors import InvalidRequest
from headway_serving.core.feedback import Feedback, FeedbackDesk, Ignored
from headway_serving.core.routing import Arm
from headway_serving.gateway.classify.operations import LONGEST_LABEL, MOST_FEEDBACK, MOST_FEEDBACK_BYTES, feedback
from headway_serving.gateway.requests.errors import PayloadTooLarge
from headway_serving.gateway.requests.grammar import refuse_content_encoding
from headway_serving.gateway.requests.identity import LONGEST_ID, current
from headway_serving.gateway.requests.json_bodies import parse_json
from headway_serving.gateway.requests.json_responses import json_response
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.requests.problems import problem_part

T = TypeVar("T", str, int)

_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{LONGEST_ID}}}")
_VALUES_OF_ONE = 16
_LARGEST = 10**18 - 1


def blueprint(desk: FeedbackDesk) -> Blueprint:
    """The feedback route."""
    routes = Blueprint("feedback", __name__)

    @routes.post("/v1/models/<name:model>:feedback")
    @describes(feedback())
    def take(model: str) -> Response:
        tally = desk.take(model, _read())
        return json_response(
            {
                "model": model,
                "counted": tally.right + tally.wrong,
                "right": tally.right,
                "wrong": tally.wrong,
                "duplicates": tally.duplicates,
                "ignored": [_ignored(each) for each in tally.ignored],
                "request_id": current().request_id,
            }
        )

    return routes


def _read() -> list[Feedback]:
    """The feedback of the body: one object, or a list of them. Raises what is wrong with it; then nothing counts."""
    refuse_content_encoding(request)
    body = request.get_data(cache=False)
    if len(body) > MOST_FEEDBACK_BYTES:
        raise PayloadTooLarge(f"the body has {len(body):,} bytes, more than {MOST_FEEDBACK_BYTES:,}; send less at once")
    document = parse_json(body, MOST_FEEDBACK * _VALUES_OF_ONE)
    if not isinstance(document, list):
        return [_item(document, "the body")]
    if not 1 <= len(document) <= MOST_FEEDBACK:
        raise InvalidRequest(f"the list has {len(document)} entries; send 1 to {MOST_FEEDBACK}")
    return [_item(value, f"[{position}]") for position, value in enumerate(document)]


def _item(value: Any, where: str) -> Feedback:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: an object with request_id, version, arm, label and truth is needed")
    request_id, arm = _field(value, "request_id", str, where), _field(value, "arm", str, where)
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidRequest(f"{where}.request_id: 1 to {LONGEST_ID} letters, digits and ._:- are needed")
    if arm not in list(Arm):
        raise InvalidRequest(f"{where}.arm: {', '.join(Arm)} is needed, not {arm[:40]!r}")
    return Feedback(
        request_id=request_id,
        version=_number(value, "version", where),
        arm=Arm(arm),
        label=_label(value, "label", where),
        truth=_label(value, "truth", where),
        index=_number(value, "index", where) if "index" in value else 0,
        key_position=_share(value, "key_position", where) if value.get("key_position") is not None else None,
    )


def _label(value: Mapping[str, Any], name: str, where: str) -> str:
    text = _field(value, name, str, where)
    if not 1 <= len(text) <= LONGEST_LABEL:
        raise InvalidRequest(f"{where}.{name}: 1 to {LONGEST_LABEL} characters are needed")
    return text


def _number(value: Mapping[str, Any], name: str, where: str) -> int:
    # To a schema, and to programs that know no other numbers, 2.0 is whole.
    number = value.get(name)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    found = _field({**value, name: number}, name, int, where)
    if not 0 <= found <= _LARGEST:
        raise InvalidRequest(f"{where}.{name}: a whole number of 0 or more is needed, not {str(found)[:40]}")
    return found


def _share(value: Mapping[str, Any], name: str, where: str) -> float:
    number = value[name]
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 1:
        raise InvalidRequest(f"{where}.{name}: a number from 0 to 1 is needed, as the answer has it")
    return float(number)


def _field(value: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    found = value.get(name)
    # bool is an int to Python, but true is no version.
    if not isinstance(found, kind) or isinstance(found, bool):
        needed = "a text" if kind is str else "a whole number"
        raise InvalidRequest(f"{where}.{name}: {needed} is needed" + ("" if name in value else "; it is missing"))
    return found


def _ignored(ignored: Ignored) -> dict[str, Any]:
    problem = problem_part(ignored.error)
    return {"position": ignored.position, "code": problem["code"], "detail": problem["detail"]}
