"""A document in one key of a ConfigMap: changed under optimistic concurrency, reserved by an annotation.

Each write names the ``resourceVersion`` that was read. If another was quicker, the API answers 409, and the change is
made again to what is there then. Where an answer is lost, nobody knows whether the write was made: each write leaves an
identifier among the annotations, and who finds its own there makes nothing twice.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from headway_serving.adapters.kubernetes import reservations
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName, Object
from headway_serving.adapters.kubernetes.errors import Conflict, Unreachable
from headway_serving.core.documents import Change, ReservationLost

CHANGES = "headway.dev/changes"
"""The annotation with the identifiers of the last writes, newest last."""

_CHANGES_KEPT = 16
_TROUBLE_SECONDS = 10.0
"""So long a change is tried while the API does not answer."""

_PAUSE_SECONDS = 0.05, 0.3


@dataclass(frozen=True)
class ConfigMapDocument:
    """The text of one key, see :class:`Document`. Its errors are :class:`KubernetesError`, which are OSErrors.

    ``held``: whom this object is, by the names that it has reserved.
    """

    api: ConfigMapApi
    where: ConfigMapName
    key: str
    poll_seconds: float = 1.0
    held: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    trouble_seconds: float = _TROUBLE_SECONDS
    sleep: Callable[[float], None] = time.sleep

    def __str__(self) -> str:
        return f"{self.key} of ConfigMap {self.where}"

    def read(self) -> bytes | None:
        """The text; None if the ConfigMap has no such key."""
        return self._content(self.api.get(self.where))

    def change(self, change: Change) -> None:
        """Replace the text by what ``change`` makes of it, which is called again whenever another was quicker.

        Raises what it raises, :class:`ReservationLost`, and :class:`KubernetesError`.
        """

        def changed(found: Object) -> Object | None:
            self._check_held(found)
            before = self._content(found)
            after = change(before)
            if after is None or after == before:
                return None
            return {**found, "data": {**(found.get("data") or {}), self.key: after.decode("utf-8")}}

        self._write(changed)

    @contextmanager
    def reserved(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold ``name`` among the object's annotations, renewed every few seconds by a thread.

        One that is not renewed for :data:`reservations.SECONDS` is taken over, which is found out by looking for so
        long. Raises BlockingIOError if another renews it meanwhile and this is not to ``wait`` for its end.
        """
        holder = reservations.new_holder()
        self._acquire(name, holder, wait=wait)
        self.held[name] = holder
        stopping = threading.Event()
        thread = threading.Thread(target=self._renew, args=(name, holder, stopping), name="reservation", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
            self.held.pop(name, None)
            self._release(name, holder)

    def is_reserved(self, name: str) -> bool:
        """Whether somebody has renewed ``name`` lately, by this machine's clock."""
        record = reservations.of(self.api.get(self.where)).get(name)
        return record is not None and time.time() < record.renewed + 2 * reservations.SECONDS

    def beside(self, suffix: str) -> "ConfigMapDocument":
        """Another key of the ConfigMap: ``removed`` is ``routes.removed.json`` beside ``routes.json``."""
        path = PurePosixPath(self.key)
        return replace(self, key=f"{path.stem}.{suffix}{path.suffix}")

    def _content(self, found: Object) -> bytes | None:
        text = (found.get("data") or {}).get(self.key)
        return None if text is None else str(text).encode("utf-8")

    def _check_held(self, found: Object) -> None:
        records = reservations.of(found)
        for name, holder in self.held.items():
            record = records.get(name)
            if record is not None and record.holder != holder:
                raise ReservationLost(
                    f"{name} of ConfigMap {self.where} was taken over by {record.holder}: this process was not heard "
                    f"of for {reservations.SECONDS:g} s; nothing was written"
                )

    def _write(self, change: Callable[[Object], Object | None]) -> None:
        """Replace the object by what ``change`` makes of it, once; None: it stays."""
        ends = time.monotonic() + self.trouble_seconds
        mark = uuid.uuid4().hex[:12]
        while True:
            try:
                found = self.api.get(self.where)
                if mark in _annotations(found).get(CHANGES, "").split():
                    return  # it was the answer that was lost
                changed = change(found)
                if changed is not None:
                    self.api.replace(self.where, _marked(changed, mark))
                return
            except Conflict:
                # Whoever was quicker is served; the pauses differ, so that two do not meet again.
                self.sleep(random.uniform(*_PAUSE_SECONDS) / 5)  # noqa: S311  # no secret
            except Unreachable:
                if time.monotonic() >= ends:
                    raise
                self.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311

    def _acquire(self, name: str, holder: str, *, wait: bool) -> None:
        seen, since = None, 0.0
        while True:
            found = self.api.get(self.where)
            record = reservations.of(found).get(name)
            # One's own clock decides: those of two machines need not agree.
            if record is None or (record == seen and time.monotonic() >= since + reservations.SECONDS):
                try:
                    self.api.replace(self.where, reservations.with_record(found, name, holder))
                except Conflict:
                    continue
                return
            if record != seen:
                if seen is not None and not wait:
                    raise BlockingIOError(f"{name} of ConfigMap {self.where} is held by {record.holder}")
                seen, since = record, time.monotonic()
            self.sleep(reservations.LOOK_SECONDS)

    def _renew(self, name: str, holder: str, stopping: threading.Event) -> None:
        def renewed(found: Object) -> Object | None:
            record = reservations.of(found).get(name)
            if record is not None and record.holder != holder:
                stopping.set()  # the next change says so
                return None
            return reservations.with_record(found, name, holder)

        while not stopping.wait(reservations.RENEW_SECONDS):
            self._quietly(renewed)

    def _release(self, name: str, holder: str) -> None:
        def released(found: Object) -> Object | None:
            record = reservations.of(found).get(name)
            return None if record is None or record.holder != holder else reservations.without_record(found, name)

        self._quietly(released)

    def _quietly(self, change: Callable[[Object], Object | None]) -> None:
        """Renewals are tried again soon, and what is not released ends by itself."""
        try:
            self._write(change)
        except OSError:
            return


def _annotations(found: Object) -> dict[str, str]:
    return dict(found["metadata"].get("annotations") or {})


def _marked(found: Object, mark: str) -> Object:
    annotations = _annotations(found)
    marks = [*annotations.get(CHANGES, "").split(), mark][-_CHANGES_KEPT:]
    metadata: dict[str, Any] = {**found["metadata"], "annotations": {**annotations, CHANGES: " ".join(marks)}}
    return {**found, "metadata": metadata}
