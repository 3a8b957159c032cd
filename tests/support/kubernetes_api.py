"""A small API server that speaks Kubernetes' protocol over HTTP for ConfigMaps, and can be made to misbehave.

It has resource versions and conflicts, lists and watches with bookmarks, 410 Gone for what it has forgotten, roles by
token, and what ``kubectl`` asks to find its way. It can drop connections, lose answers, and be away for a while.
"""

import contextlib
import copy
import json
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.ports import free_port

Object = dict[str, Any]
Rule = tuple[str, str, str]
"""Verb, namespace and name of a ConfigMap."""

_RESOURCES: dict[str, Object] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "configmaps", "singularName": "configmap", "namespaced": True, "kind": "ConfigMap",
                "shortNames": ["cm"], "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            }
        ],
    },
}  # fmt: skip


@dataclass
class KubernetesApi:
    """The server, and what a test may do to it.

    ``rules``: what each token may do; without any, everybody may do everything. ``lost_answers``: so many writes are
    made and not answered. ``before_write``: called once before the next write, by whoever is quicker. ``asked``: how
    often each verb was.
    """

    port: int = field(default_factory=free_port)
    rules: dict[str, set[Rule]] = field(default_factory=dict)
    lost_answers: int = 0
    before_write: Callable[[], object] | None = None
    bookmark_seconds: float = 0.5
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._objects: dict[tuple[str, str], Object] = {}
        self._events: list[tuple[int, str, Object]] = []
        self._version, self._forgotten = 100, 0
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path, token: str = "") -> Path:
        """A kubeconfig file with which this server is asked."""
        path = folder / f"kubeconfig{token}"
        user = {"token": token} if token else {}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "headway"}}],
        }  # fmt: skip
        path.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
        return path

    def create(self, namespace: str, name: str, data: dict[str, str]) -> Object:
        metadata = {"name": name, "namespace": namespace}
        return self.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, "ADDED")

    def text(self, namespace: str, name: str, key: str) -> str:
        return str(self.held(namespace, name)["data"][key])

    def held(self, namespace: str, name: str) -> Object:
        with self._changed:
            return copy.deepcopy(self._objects[namespace, name])

    def edit(self, namespace: str, name: str, change: Callable[[Object], object]) -> None:
        """Change an object in place, as another client would."""
        with self._changed:
            found = self.held(namespace, name)
            change(found)
            self.put(found, "MODIFIED")

    def put(self, found: Object, kind: str) -> Object:
        with self._changed:
            self._version += 1
            stored = copy.deepcopy(found)
            stored["metadata"]["resourceVersion"] = str(self._version)
            stored["metadata"].setdefault("uid", str(uuid.uuid4()))
            key = (stored["metadata"]["namespace"], stored["metadata"]["name"])
            if kind == "DELETED":
                self._objects.pop(key)
            else:
                self._objects[key] = stored
            self._events.append((self._version, kind, stored))
            self._changed.notify_all()
            return stored

    def forget_events(self) -> None:
        """From now on, watches that begin before this moment are told 410 Gone."""
        with self._changed:
            self._version += 1
            self._forgotten = self._version
            self._events.clear()
            self._changed.notify_all()

    def drop_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def start(self) -> None:
        api = self

        class Handler(_Handler):
            server_of_test = api

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away: nothing listens, and every connection is cut."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.drop_connections()

    def away(self) -> bool:
        return self._server is None


@contextlib.contextmanager
def kubernetes_api(**settings: Any) -> Iterator[KubernetesApi]:
    api = KubernetesApi(**settings)
    api.start()
    try:
        yield api
    finally:
        api.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of_test: KubernetesApi

    def setup(self) -> None:
        super().setup()
        self.server_of_test._connections.add(self.connection)

    def finish(self) -> None:
        self.server_of_test._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = self._path()
        if path in _RESOURCES:
            self._answer(200, _RESOURCES[path])
            return
        namespace, name = self._where(path)
        selected = query.get("fieldSelector", "").removeprefix("metadata.name=")
        verb = "get" if name else "watch" if query.get("watch") in ("true", "1") else "list"
        if not self._may(verb, namespace, name or selected):
            return
        api = self.server_of_test
        with api._changed:
            found = [copy.deepcopy(each) for key, each in api._objects.items()
                     if key[0] == namespace and (name or selected) in ("", key[1])]  # fmt: skip
            version = api._version
        if verb == "watch":
            self._watch(namespace, selected, query)
        elif verb == "list":
            metadata = {"resourceVersion": str(version)}
            self._answer(200, {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": found})
        elif found:
            self._answer(200, found[0])
        else:
            self._refuse(404, "NotFound", f'configmaps "{name}" not found')

    def do_POST(self) -> None:
        namespace, _ = self._where(self._path()[0])
        made = self._body()
        made["metadata"]["namespace"] = namespace
        if self._may("create", namespace, made["metadata"]["name"]):
            with self.server_of_test._changed:
                there = (namespace, made["metadata"]["name"]) in self.server_of_test._objects
                stored = None if there else self.server_of_test.put(made, "ADDED")
            if stored is None:
                self._refuse(409, "AlreadyExists", f'configmaps "{made["metadata"]["name"]}" already exists')
            else:
                self._answer(201, stored)

    def do_PUT(self) -> None:
        self._change("update", lambda _, body: body)

    def do_PATCH(self) -> None:
        # Of maps alone, as in ConfigMaps, the strategic merge is the plain one.
        self._change("patch", _merged)

    def do_DELETE(self) -> None:
        namespace, name = self._where(self._path()[0])
        self._body()
        if self._may("delete", namespace, name):
            gone = self.server_of_test.put(self.server_of_test.held(namespace, name), "DELETED")
            self._answer(200, gone)

    def _change(self, verb: str, change: Callable[[Object, Object], Object]) -> None:
        namespace, name = self._where(self._path()[0])
        body, api = self._body(), self.server_of_test
        if not self._may(verb, namespace, name):
            return
        if (quicker := api.before_write) is not None:
            api.before_write = None
            quicker()
        with api._changed:
            if (namespace, name) not in api._objects:
                self._refuse(404, "NotFound", f'configmaps "{name}" not found')
                return
            before = api.held(namespace, name)
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted not in (None, "", before["metadata"]["resourceVersion"]):
                why = "the object has been modified; please apply your changes to the latest version and try again"
                self._refuse(409, "Conflict", f'Operation cannot be fulfilled on configmaps "{name}": {why}')
                return
            stored = api.put(change(before, body), "MODIFIED")
            lost = api.lost_answers > 0
            api.lost_answers -= lost
        if lost:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(200, stored)

    def _watch(self, namespace: str, name: str, query: dict[str, str]) -> None:
        api, since = self.server_of_test, int(query["resourceVersion"])
        ends = time.monotonic() + float(query.get("timeoutSeconds", 300))
        if since < api._forgotten:
            self._refuse(410, "Expired", f"too old resource version: {since} ({api._forgotten})")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        server = api._server
        while time.monotonic() < ends and api._server is server:
            with api._changed:
                if since < api._forgotten:
                    self._event("ERROR", _status(410, "Expired", f"too old resource version: {since}"))
                    break
                fresh = [each for each in api._events if each[0] > since]
                if not fresh:
                    told = api._changed.wait(api.bookmark_seconds)
                    fresh = [each for each in api._events if each[0] > since]
                    if not told and query.get("allowWatchBookmarks") == "true":
                        since = max(since, api._version)
                        metadata = {"resourceVersion": str(since)}
                        self._event("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata})
                        continue
            for version, kind, found in fresh:
                since = version
                key = (found["metadata"]["namespace"], found["metadata"]["name"])
                if key[0] == namespace and name in ("", key[1]):
                    self._event(kind, found)
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind: str, found: Object) -> None:
        line = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _path(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def _where(self, path: str) -> tuple[str, str]:
        """Namespace and name of ``/api/v1/namespaces/N/configmaps[/NAME]``; empty if the path is another."""
        parts = path.strip("/").split("/")
        if parts[:3] != ["api", "v1", "namespaces"] or parts[4:5] != ["configmaps"]:
            return "", "none"
        return parts[3], parts[5] if len(parts) > 5 else ""

    def _body(self) -> Object:
        found: Object = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        return found

    def _may(self, verb: str, namespace: str, name: str) -> bool:
        api = self.server_of_test
        api.asked[verb] += 1
        if not api.rules:
            return True
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in api.rules:
            self._refuse(401, "Unauthorized", "Unauthorized")
            return False
        if (verb, namespace, name) not in api.rules[token]:
            who = f"system:serviceaccount:{namespace}:{token}"
            what = f'cannot {verb} resource "configmaps" in API group "" in the namespace "{namespace}"'
            self._refuse(403, "Forbidden", f'configmaps "{name}" is forbidden: User "{who}" {what}')
            return False
        return True

    def _refuse(self, code: int, reason: str, message: str) -> None:
        self._answer(code, _status(code, reason, message))

    def _answer(self, code: int, document: Object) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _status(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message}  # fmt: skip


def _merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not (isinstance(before, dict) and isinstance(patch, dict)):
        return patch
    after = {name: each for name, each in before.items() if patch.get(name, each) is not None}
    return after | {name: _merged(before.get(name), each) for name, each in patch.items() if each is not None}
