"""A log message that is data: written as one JSON object, or as members of one."""

import json
from collections.abc import Mapping
from typing import Any


class Fields:
    """What a record says, by name. As text it is JSON without a character that is not ASCII."""

    __slots__ = ("members",)

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = members

    def __str__(self) -> str:
        return json.dumps(self.members)
