"""Loads, serves and unloads versions.

Theory of operation
-------------------
Every version of every model is in one of five states; ``_NEXT_STATES`` is the whole machine:

    START ------> LOADING ------> AVAILABLE ------> UNLOADING ------> END
      |              |                                                 ^
      |              +--- the load failed, retries included -----------+
      +------------------ no longer aspired before its turn -----------+

* ``set_aspired`` says which versions a model should serve. A version not seen before enters at START. One that
  ended enters again at START when it is aspired anew; one that ended with an error stays ended as long as it
  stays aspired, so a broken version is not tried again until its directory was away once.
* A version that is no longer aspired keeps serving until the policy (``version_policy.next_transition``) lets it
  go. If it is aspired again before that, it just stays.
* One thread, the manager, takes one transition after the other, unloads before loads, and sleeps on
  ``_changed`` while there is none. With no load or unload threads it performs them itself, so a load that is
  retried delays everything else, as in TensorFlow Serving; with such threads it only hands them out.
* In isolation no load delays another: a load that waits for its next try holds no thread that others need, and
  a model whose first try failed keeps nobody waiting. TensorFlow Serving has no such mode.
* A version can be acquired exactly while it is AVAILABLE. Going to UNLOADING stops that; the servable is
  closed after the last handle on it was given back. So a request always ends on the version it began with.
* One lock guards all of it. Loading, closing and running happen outside.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from headway_serving.core.errors import without_frames
from headway_serving.modelserver.errors import Code, StatusError, unforeseen
from headway_serving.modelserver.versions.policy import Action, State, VersionView, next_transition

logger = logging.getLogger(__name__)

_WAITING_LOADS = 1000
"""In isolation, how many loads may wait for their next try at a time."""

_NEXT_STATES: dict[State, frozenset[State]] = {
    State.START: frozenset({State.LOADING, State.END}),
    State.LOADING: frozenset({State.AVAILABLE, State.END}),
    State.AVAILABLE: frozenset({State.UNLOADING}),
    State.UNLOADING: frozenset({State.END}),
    State.END: frozenset(),
}


class Servable(Protocol):
    """One loaded version, as far as the manager is concerned."""

    def close(self) -> None:
        """Release the version's memory; it is not used afterwards."""


S = TypeVar("S", bound=Servable)
S_co = TypeVar("S_co", bound=Servable, covariant=True)


class ServableLoader(Protocol[S_co]):
    """Turns a version directory into a servable."""

    def load(self, directory: Path) -> S_co:
        """Return the version in ``directory``, ready to serve; raises StatusError if it cannot be served."""


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version as seen from outside; ``error`` is set if it ended with one."""

    name: str
    number: int
    state: State
    error: StatusError | None


@dataclass(frozen=True)
class Handle(Generic[S]):
    """The right to use one loaded version."""

    number: int
    servable: S


@dataclass(frozen=True)
class RetryPolicy:
    """How a failed load is tried again: so many times more, that many seconds apart (negative: no wait)."""

    retries: int = 5
    interval_seconds: float = 60.0


@dataclass(eq=False)
class _Version(Generic[S]):
    name: str
    number: int
    directory: Path
    aspired: bool = True
    state: State = State.START
    error: StatusError | None = None
    servable: S | None = None
    in_flight: int = 0
    failed_try: StatusError | None = None

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.number}}}"

    def move(self, state: State) -> None:
        assert state in _NEXT_STATES[self.state], f"{self}: {self.state.name} -> {state.name}"
        self.state = state


class VersionManager(Generic[S]):
    """Owns every version of every model; see the theory of operation above."""

    def __init__(
        self,
        loader: ServableLoader[S],
        retry: RetryPolicy,
        *,
        unload_threads: int = 0,
        isolate: bool = False,
        on_failure: Callable[[str, int, StatusError], None] = lambda *_: None,
    ) -> None:
        """``on_failure`` is told of every try to load a version that failed."""
        self._loader, self._on_failure = loader, on_failure
        self._retry = retry
        self._isolate = isolate
        self._versions: dict[str, dict[int, _Version[S]]] = {}
        self._available: dict[str, dict[int, _Version[S]]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._load_threads: ThreadPoolExecutor | None = None
        self._loading_now: AbstractContextManager[object] = nullcontext()
        self._unload_threads = _threads(unload_threads, "unload")
        self._thread = threading.Thread(target=self._run, name="version manager", daemon=True)

    def start(self, *, load_threads: int) -> None:
        """Start performing transitions, loading on ``load_threads`` threads (0: on the manager's own)."""
        self.set_load_threads(load_threads)
        self._thread.start()

    def set_load_threads(self, count: int) -> None:
        """Load on ``count`` threads from now on; loads that are running end where they are."""
        threads = _threads(_WAITING_LOADS if self._isolate else count, "load")
        with self._changed:
            previous, self._load_threads = self._load_threads, threads
            if self._isolate:
                self._loading_now = threading.Semaphore(max(count, 1))
        if previous is not None:
            previous.shutdown(wait=False)

    def stop(self) -> None:
        """Begin no further transition and release every waiting caller; what is loaded can still be acquired."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Have every waiting caller look again whether to give up."""
        with self._changed:
            self._changed.notify_all()

    def set_aspired(self, name: str, directories: Mapping[int, Path]) -> None:
        """Declare that model ``name`` should serve exactly the versions in ``directories``, by number."""
        with self._changed:
            versions = self._versions.setdefault(name, {})
            for number, version in versions.items():
                if version.aspired and number not in directories:
                    version.aspired = False
                    if version.state is State.START:
                        version.move(State.END)
            for number, directory in directories.items():
                self._aspire(versions, _Version(name, number, directory))
            self._changed.notify_all()

    @contextmanager
    def acquire(self, name: str, number: int | None = None) -> Iterator[Handle[S]]:
        """Yield the AVAILABLE version ``number`` of model ``name``, or its highest one if ``number`` is None.

        The version is not unloaded inside the block. Raises StatusError NOT_FOUND if there is none.
        """
        with self._changed:
            version = self._find_available(name, number)
            version.in_flight += 1
            servable = version.servable
        assert servable is not None
        try:
            yield Handle(version.number, servable)
        finally:
            with self._changed:
                version.in_flight -= 1
                if version.in_flight == 0 and version.state is State.UNLOADING:
                    self._changed.notify_all()

    def busy(self) -> bool:
        """Return whether a handle is out or a version is being loaded: work that keeps its thread."""
        with self._changed:
            versions = [version for models in self._versions.values() for version in models.values()]
            return any(version.in_flight or version.state is State.LOADING for version in versions)

    def aspires(self, name: str) -> bool:
        """Return whether model ``name`` has a version that it should serve."""
        with self._changed:
            return any(version.aspired for version in self._versions.get(name, {}).values())

    def is_available(self, name: str, number: int) -> bool:
        """Return whether that version can be acquired now."""
        with self._changed:
            return number in self._available.get(name, {})

    def statuses(self, name: str) -> list[VersionStatus]:
        """Return every version of model ``name`` the manager has known, the highest number first."""
        with self._changed:
            versions = self._versions.get(name, {}).values()
            found = [VersionStatus(v.name, v.number, v.state, v.error) for v in versions]
        return sorted(found, key=lambda status: status.number, reverse=True)

    def models(self) -> list[str]:
        """Return the names of the models that it has known."""
        with self._changed:
            return list(self._versions)

    def wait_until_settled(self, names: Iterable[str], give_up: Callable[[], bool]) -> list[VersionStatus]:
        """Wait until each model has a version that is AVAILABLE or ENDed; return those whose newest such ended.

        In isolation a first failed try counts as an end. Waits without limit while a model has no version at all.
        Raises StatusError: UNAVAILABLE if the manager is stopped meanwhile, CANCELLED if ``give_up`` (asked on every
        change and every ``wake``) says so.
        """
        waiting = list(names)
        settled: list[VersionStatus] = []
        with self._changed:
            while True:
                decided = {name: found for name in waiting if (found := self._settled(name))}
                settled += decided.values()
                waiting = [name for name in waiting if name not in decided]
                if not waiting:
                    return [status for status in settled if status.state is not State.AVAILABLE]
                if self._stopping:
                    raise StatusError(Code.UNAVAILABLE, "The server is shutting down.")
                if give_up():
                    raise StatusError(Code.CANCELLED, f"Stopped waiting for {', '.join(waiting)}.")
                self._changed.wait()

    def _settled(self, name: str) -> VersionStatus | None:
        versions = self._versions.get(name, {}).values()
        # A version that is not aspired may have ended in the life of an earlier configuration: no verdict.
        final = [v for v in versions if v.state is State.AVAILABLE or (v.aspired and self._has_failed(v))]
        if not final:
            return None
        newest = max(final, key=lambda version: version.number)
        return VersionStatus(name, newest.number, newest.state, newest.error or newest.failed_try)

    def _has_failed(self, version: _Version[S]) -> bool:
        return version.state is State.END or (self._isolate and version.failed_try is not None)

    def _aspire(self, versions: dict[int, _Version[S]], fresh: _Version[S]) -> None:
        known = versions.get(fresh.number)
        if known is None or (known.state is State.END and not known.aspired):
            versions[fresh.number] = fresh
        elif not known.aspired:
            known.aspired = True
            known.directory = fresh.directory

    def _find_available(self, name: str, number: int | None) -> _Version[S]:
        available = self._available.get(name)
        version = available.get(max(available) if number is None else number) if available else None
        if version is None:
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return version

    def _run(self) -> None:
        while (transition := self._next_transition()) is not None:
            perform, threads, version = transition
            if threads is None:
                perform(version)
            else:
                threads.submit(perform, version)

    def _next_transition(
        self,
    ) -> tuple[Callable[[_Version[S]], None], ThreadPoolExecutor | None, _Version[S]] | None:
        """Wait for a transition that is due, begin it, and return how, where and on what to perform it."""
        with self._changed:
            while not self._stopping:
                due = self._due()
                if Action.UNLOAD in due:
                    version = due[Action.UNLOAD]
                    version.move(State.UNLOADING)
                    del self._available[version.name][version.number]
                    return self._unload, self._unload_threads, version
                if Action.LOAD in due:
                    version = due[Action.LOAD]
                    version.move(State.LOADING)
                    return self._load, self._load_threads, version
                self._changed.wait()
            return None

    def _due(self) -> dict[Action, _Version[S]]:
        due: dict[Action, _Version[S]] = {}
        for versions in self._versions.values():
            views = [VersionView(v.number, v.state, v.aspired) for v in versions.values()]
            if (transition := next_transition(views)) is not None:
                action, number = transition
                due.setdefault(action, versions[number])
        return due

    def _load(self, version: _Version[S]) -> None:
        logger.info("Loading servable version %s", version)
        servable, error = self._try_to_load(version)
        with self._changed:
            if servable is None:
                version.error = error
                version.move(State.END)
            else:
                version.servable = servable
                self._available.setdefault(version.name, {})[version.number] = version
                version.move(State.AVAILABLE)
                logger.info("Successfully loaded servable version %s", version)
            self._changed.notify_all()

    def _try_to_load(self, version: _Version[S]) -> tuple[S | None, StatusError | None]:
        retries_left = self._retry.retries
        while True:
            try:
                with self._loading_now:
                    return self._loader.load(version.directory), None
            except StatusError as caught:
                # It is kept as the version's state; its frames hold what was loaded so far.
                error = without_frames(caught)
            except Exception as caught:
                logger.exception("Loading servable version %s failed unexpectedly", version)
                error = unforeseen(without_frames(caught))
            logger.error("Loading servable: %s failed: %s", version, error)
            self._on_failure(version.name, version.number, error)
            if retries_left <= 0 or not self._wait_before_retry(version, error):
                return None, error
            retries_left -= 1

    def _wait_before_retry(self, version: _Version[S], error: StatusError) -> bool:
        """Wait out the retry interval; return whether the version is then still to be loaded."""
        with self._changed:
            if version.failed_try is None:
                version.failed_try = error
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._stopping or not version.aspired, timeout=max(self._retry.interval_seconds, 0.0)
            )
            return version.aspired and not self._stopping

    def _unload(self, version: _Version[S]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: version.in_flight == 0 or self._stopping)
            servable, version.servable = version.servable, None
            if version.in_flight or servable is None:
                return  # the server is stopping and a request still runs on it
        logger.info("Unloading servable version %s", version)
        try:
            servable.close()
        except Exception:
            logger.exception("Closing servable version %s failed; its memory may be lost", version)
        with self._changed:
            version.move(State.END)
            logger.info("Done unloading servable version %s", version)
            if version.aspired:
                self._versions[version.name][version.number] = _Version(version.name, version.number, version.directory)
            self._changed.notify_all()


def _threads(count: int, name: str) -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(count, thread_name_prefix=name) if count > 0 else None
