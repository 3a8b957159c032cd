"""``headway serve``: a model server and the gateway on one machine, started, watched and stopped together.

The model server is the real ``tensorflow_model_server`` where there is one, else the embedded one; flags and files are
the same. A child that dies is started again; the other serves meanwhile. A model that nobody has decided about is taken
up, also while serving; of a newer version of one that is served, the command is shown that gives it traffic.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from headway_contract import next_commands
from headway_contract.errors import ContractError
from headway_contract.running_pair import Pair
from headway_serving.adapters.files.locks import locked
from headway_serving.adapters.files.routes import InvalidRoutes, read_routes, write_routes
from headway_serving.adapters.logs.setup import configure, wants_json
from headway_serving.commands.serve_arguments import CannotServe, Plan, check_ports, parse
from headway_serving.commands.serve_processes import (
    EMBEDDED,
    gateway_command,
    gateway_environment,
    model_server_command,
)
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.managed_process import ManagedProcess
from headway_serving.operations.model_changes import newest_routable
from headway_serving.operations.models_config import ForeignConfiguration, write_models_config
from headway_serving.operations.removed_models import removed_models
from headway_serving.operations.repository_watch import Found, RepositoryWatch
from headway_serving.operations.served_config import UnusableConfiguration, settle
from headway_serving.operations.supervision import SupervisionFile
from headway_serving.operations.supervisor_lock import SupervisedElsewhere, supervising

_log = logging.getLogger("headway.serve")

_MOST_SOCKET_BYTES = 100
"""A Unix socket's path may not be longer on any system; without the socket gRPC is used."""

_READY_POLL_SECONDS = 0.2
_WATCH_SECONDS = 0.2
_LOOK_SECONDS = 2.0
_MOST_SECONDS_FOR_NEWCOMERS = 10.0
"""The announcement waits so long for what was not served before; the others answer already."""
_GATEWAY_GRACE_SECONDS = 30.0
_MODEL_SERVER_GRACE_SECONDS = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 a child failed at start, 2 refused."""
    lines = configure("serve", as_json=wants_json(os.environ), level="info", line="headway serve: %(message)s")
    with contextlib.ExitStack() as held:
        try:
            plan = parse(argv)
            pair = Pair(os.getpid(), plan.url, plan.target)
            if plan.starts_model_server:
                plan.models_config.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(supervising(plan.models_config, pair))
            _settle_files(plan)
            model_server = model_server_command(plan)
            check_ports(plan)
        except (CannotServe, SupervisedElsewhere, UnusableConfiguration, ForeignConfiguration, ContractError,
                InvalidRoutes, OSError) as error:  # fmt: skip
            _log.error("%s", error)
            return 2
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="headway-"))
        # What writes JSON itself needs no second reading of it here.
        own = lines.stream.fileno() if wants_json(os.environ) else None
        children = _children(plan, model_server, Path(folder), own)
        return _run(plan, children, Newcomers(plan, pair), SupervisionFile(_supervision(Path(folder)), children))


def _settle_files(plan: Plan) -> None:
    """Newest version of each model is stable if there are no routes yet; what is routed is loaded."""
    if not plan.routes.exists():
        _write_routes(plan)
    table = read_routes(plan.routes)
    if plan.starts_model_server:
        for remark in settle(plan.models_config, plan.repository, table):
            _log.warning("%s: %s", plan.models_config, remark)
    elif not plan.models_config.exists():
        plan.models_config.parent.mkdir(parents=True, exist_ok=True)
        write_models_config(plan.models_config, plan.repository, table)


def _write_routes(plan: Plan) -> None:
    removed = removed_models(plan.routes)
    newest = {name: newest_routable(plan.repository, name) for name in plan.repository.models() if name not in removed}
    routes = {name: ModelRoutes(version) for name, version in newest.items() if version is not None}
    if not routes and not removed:
        raise CannotServe(
            f"repository {plan.repository.root} holds only backbones, which have no classes; train a head: "
            f"headway train --images DIR --name NAME --repository {plan.repository.root}"
        )
    plan.routes.parent.mkdir(parents=True, exist_ok=True)
    with locked(plan.routes):
        if not plan.routes.exists():
            write_routes(plan.routes, RouteTable(routes))


def _children(plan: Plan, model_server: list[str] | None, folder: Path, own: int | None) -> list[ManagedProcess]:
    """``own``: the standard error of those that are ours."""
    environment = dict(gateway_environment(plan, _supervision(folder)))
    path = folder / "model-server.sock"
    if model_server is not None and EMBEDDED in model_server and len(os.fsencode(path)) <= _MOST_SOCKET_BYTES:
        model_server = [*model_server, f"--local_socket_path={path}"]
        environment["HEADWAY_MODEL_SERVER_SOCKET"] = str(path)
    if model_server is not None and plan.rest_port:
        monitoring = folder / "monitoring.config"
        monitoring.write_text("prometheus_config { enable: true }\n")
        model_server = [*model_server, f"--monitoring_config_file={monitoring}"]
    children = [ManagedProcess("gateway", gateway_command(), environment, own)]
    if model_server is not None:
        stderr = own if EMBEDDED in model_server else None
        children.insert(0, ManagedProcess("model server", model_server, dict(os.environ), stderr))
    return children


class Newcomers:
    """Takes up models that nobody has decided about, by ``headway models add``, and tells of newer versions.

    Beside a model server that runs already it only says how: what that one loads is another's decision.
    """

    def __init__(self, plan: Plan, pair: Pair) -> None:
        self._plan, self._pair = plan, pair
        self._watch = RepositoryWatch(plan.repository)
        self._adding: ManagedProcess | None = None
        self._next_look = 0.0

    def attend(self) -> None:
        """Look, if it is time to and nothing is being added; never blocks."""
        if self.busy() or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_SECONDS
        try:
            found = self._watch.look(read_routes(self._plan.routes), removed_models(self._plan.routes))
        except (InvalidRoutes, ContractError, OSError) as error:
            # The gateway keeps its last good routes and says what is wrong; here there is another look.
            _log.error("cannot look for new versions: %s", error)
            return
        self._tell(found)
        if found.newcomers and self._plan.starts_model_server:
            self._add(found.newcomers)

    def busy(self) -> bool:
        """Whether a model is being added."""
        return self._adding is not None and self._adding.exit_code() is None

    def stop(self) -> None:
        """End what is being added; the files are whole at any moment."""
        if self._adding is not None and self.busy():
            self._adding.stop(_MODEL_SERVER_GRACE_SECONDS)

    def _tell(self, found: Found) -> None:
        root, routes, config = self._plan.repository.root, self._plan.routes, self._plan.models_config
        for model, version in found.newer:
            command = next_commands.rollout_start(model, self._pair, root, routes, config)
            _say(f"version {version} of {model} lies there; next: {command}")
        if not self._plan.starts_model_server:
            for model in found.newcomers:
                command = next_commands.models_add(model, self._pair, root, routes, config)
                _say(f"{model} lies there and gets no traffic; next: {command}")

    def _add(self, models: Sequence[str]) -> None:
        plan, pair = self._plan, self._pair
        command = [sys.executable, "-m", "headway_serving.commands.models", "add", *models]
        command += ["--repository", str(plan.repository.root), "--routes", str(plan.routes)]
        command += ["--models-config", str(plan.models_config)]
        command += ["--gateway", pair.url, "--model-server", pair.model_server]
        self._adding = ManagedProcess("adding of models", command, dict(os.environ))
        self._adding.start()


def _run(plan: Plan, children: Sequence[ManagedProcess], newcomers: Newcomers, supervision: SupervisionFile) -> int:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    exit_code = 0
    try:
        for child in children:
            child.start()
        supervision.update()
        if _wait_until_ready(plan, children, stopping):
            newcomers.attend()
            announced_by = time.monotonic() + _MOST_SECONDS_FOR_NEWCOMERS
            while newcomers.busy() and time.monotonic() < announced_by and not stopping.wait(_READY_POLL_SECONDS):
                _revive(children, supervision)
            _announce(plan)
            while not stopping.wait(_WATCH_SECONDS):
                _revive(children, supervision)
                newcomers.attend()
        elif not stopping.is_set():
            exit_code = 1
    finally:
        newcomers.stop()
        # The gateway first: its requests in flight still need the model server.
        for child in reversed(children):
            child.stop(_GATEWAY_GRACE_SECONDS if child.name == "gateway" else _MODEL_SERVER_GRACE_SECONDS)
    return exit_code


def _revive(children: Sequence[ManagedProcess], supervision: SupervisionFile) -> None:
    supervision.update()
    for child in children:
        child.revive()
    supervision.update()


def _supervision(folder: Path) -> Path:
    return folder / "children.json"


def _wait_until_ready(plan: Plan, children: Sequence[ManagedProcess], stopping: threading.Event) -> bool:
    """Wait for ``/readyz``. False when asked to stop, or when a child ended before: it would only end again."""
    shown, changed_at = "", time.monotonic()
    while not stopping.wait(_READY_POLL_SECONDS):
        for child in children:
            code = child.exit_code()
            if code is not None:
                _log.error("the %s ended at start with exit code %s; see above", child.name, code)
                return False
        obstacle = _obstacle(plan.url)
        if obstacle is None:
            return True
        if obstacle != shown and time.monotonic() - changed_at > 5:
            _log.warning("waiting: %s", obstacle)
            shown, changed_at = obstacle, time.monotonic()
    return False


def _obstacle(url: str) -> str | None:
    """Why the gateway is not ready, or None if it is."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310  # our own http URL
            return None
    except urllib.error.HTTPError as error:
        try:
            return str(json.load(error)["detail"])
        except (ValueError, KeyError):
            return f"the gateway answers {error.code}"
    except OSError:
        return "the gateway is starting"


def _announce(plan: Plan) -> None:
    table = read_routes(plan.routes)
    waiting = _unanswered(plan.url)
    lines = [f"Serving {plan.url}  (Ctrl-C stops)"]
    for name, routes in sorted(table.models.items()):
        state = f"cannot answer yet: {waiting[name]}" if name in waiting else "is stable"
        lines.append(f"  {name}: version {routes.stable} {state}")
    answered = sorted(set(table.models) - set(waiting))
    if answered:
        lines.append(f"  try: headway classify PICTURE --model {answered[0]} --url {plan.url}")
    _say("\n".join(lines))


def _unanswered(url: str) -> dict[str, str]:
    """The models that the gateway cannot answer for now, and why."""
    try:
        with urllib.request.urlopen(f"{url}/readyz?verbose", timeout=2) as answer:  # noqa: S310  # our own http URL
            states = json.load(answer)["models"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: reason for name, reason in states.items() if reason != "ready"}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
