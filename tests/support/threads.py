"""Work that several threads do over and over while a test goes on."""

import threading
from typing import Self


class Repeating:
    """Runs :meth:`run` on ``count`` threads inside a ``with`` block; it returns soon after ``stopping`` is set."""

    def __init__(self, count: int, join_seconds: float = 60.0) -> None:
        self.stopping = threading.Event()
        self._join_seconds = join_seconds
        self._threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]

    def run(self, number: int, /) -> None:
        """What one thread does; ``number`` counts from 0."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(timeout=self._join_seconds)
