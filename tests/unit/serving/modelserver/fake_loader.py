"""A `ServableLoader` without TensorFlow: loads any directory that holds a file `saved_model.pb`, when it may."""

import threading
from pathlib import Path

from headway_serving.modelserver.errors import Code, StatusError


class FakeServable:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeLoader:
    """`loads` lists the directories tried, in order; `hold` makes loads of a directory wait for `release`."""

    def __init__(self) -> None:
        self.loads: list[Path] = []
        self.servables: list[FakeServable] = []
        self._held: dict[Path, threading.Event] = {}

    def load(self, directory: Path) -> FakeServable:
        self.loads.append(directory)
        if held := self._held.get(directory):
            assert held.wait(timeout=30), f"nobody released {directory}"
        if not (directory / "saved_model.pb").is_file():
            raise StatusError(Code.NOT_FOUND, f"Could not find SavedModel at {directory}")
        servable = FakeServable(directory)
        self.servables.append(servable)
        return servable

    def hold(self, directory: Path) -> None:
        self._held[directory] = threading.Event()

    def release(self, directory: Path) -> None:
        self._held[directory].set()
