"""How the children of ``headway serve`` do, in a file that its gateway shows at ``/metrics``."""

import json
from collections.abc import Sequence
from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_serving.operations.managed_process import ManagedProcess


class SupervisionFile:
    """Written when something has changed; each child with whether it runs and how often it was started again."""

    def __init__(self, path: Path, children: Sequence[ManagedProcess]) -> None:
        self._path, self._children = path, children
        self._written: dict[str, dict[str, int]] | None = None

    def update(self) -> None:
        """Write the file if it says something else by now."""
        children = {child.name: {"up": int(child.runs), "restarts": child.restarts} for child in self._children}
        if children != self._written:
            write_atomically(self._path, json.dumps({"children": children}).encode())
            self._written = children
