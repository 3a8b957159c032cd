"""Asks the Kubernetes API for ConfigMaps: read, replaced under optimistic concurrency, listed and watched.

Plain HTTP on the client that the whole project has; docs/architecture.md says why no client library.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.errors import (
    Conflict,
    Forbidden,
    Gone,
    InvalidKubernetes,
    KubernetesError,
    Unreachable,
)

Object = dict[str, Any]

_TIMEOUT_SECONDS = 5.0
WATCH_SECONDS = 240
"""So long one watch lasts before the next begins where it ended."""

_KEEP_ALIVE = [
    # A connection that was cut without a word is seen within half a minute.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
_ERRORS: Mapping[int, type[KubernetesError]] = {403: Forbidden, 409: Conflict, 410: Gone, 429: Unreachable}
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class ConfigMapName:
    """Where a ConfigMap is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def config_map_named(text: str, default: str) -> ConfigMapName:
    """``NAMESPACE/NAME``, or ``NAMESPACE`` alone. Raises :class:`InvalidKubernetes`."""
    namespace, slash, name = text.partition("/")
    found = ConfigMapName(namespace, name if slash else default)
    if not (_NAME.fullmatch(found.namespace) and _NAME.fullmatch(found.name)):
        raise InvalidKubernetes(f"{text!r} is not NAMESPACE or NAMESPACE/NAME, such as headway/{default}")
    return found


class ConfigMapApi:
    """ConfigMaps of one cluster. All methods raise :class:`KubernetesError`. Safe for use by many threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        verify = True if cluster.tls is None else cluster.tls
        self._http = httpx.Client(
            base_url=cluster.server,
            transport=httpx.HTTPTransport(verify=verify, socket_options=_KEEP_ALIVE),
            timeout=_TIMEOUT_SECONDS,
        )

    def get(self, where: ConfigMapName) -> Object:
        """The object. Raises :class:`KubernetesError` if there is none."""
        return self._asked("get", where, "GET", _path(where, where.name))

    def replace(self, where: ConfigMapName, changed: Object) -> Object:
        """Replace the object whose ``resourceVersion`` is that of ``changed``; returns it as it is then.

        Raises :class:`Conflict` if it was changed meanwhile, :class:`Unreachable` if nobody knows what happened.
        """
        return self._asked("update", where, "PUT", _path(where, where.name), content=json.dumps(changed))

    def listed(self, where: ConfigMapName) -> tuple[Object | None, str]:
        """The object, None if there is none, and the resource version to watch from."""
        answer = self._asked("list", where, "GET", _path(where), params=_selected(where))
        items = answer.get("items") or []
        return (items[0] if items else None), str(answer["metadata"]["resourceVersion"])

    @contextlib.contextmanager
    def watched(self, where: ConfigMapName, since: str) -> Iterator[Iterator[Object]]:
        """Give the events after the resource version ``since``, bookmarks too, until the server ends the watch.

        Raises :class:`Gone` if the version is too old, also in the midst of the events.
        """
        asked = {
            **_selected(where), "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
        }  # fmt: skip
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=WATCH_SECONDS + 2 * _TIMEOUT_SECONDS)
        with self._translated(), self._http.stream(
            "GET", _path(where), params=asked, headers=self._headers(), timeout=timeout, extensions=self._extensions()
        ) as response:  # fmt: skip
            if not response.is_success:
                response.read()
                self._check("watch", where, response)
            yield self._events(where, response)

    def _events(self, where: ConfigMapName, response: httpx.Response) -> Iterator[Object]:
        for line in response.iter_lines():
            event = json.loads(line)
            if event.get("type") == "ERROR":
                status = event.get("object", {})
                kind = _ERRORS.get(status.get("code", 0), Unreachable)
                raise kind(f"watch of ConfigMap {where}: {status.get('message', status)}")
            yield event

    def _asked(self, verb: str, where: ConfigMapName, method: str, path: str, **parts: Any) -> Object:
        headers = {**self._headers(), "Content-Type": "application/json"}
        with self._translated():
            response = self._http.request(method, path, headers=headers, extensions=self._extensions(), **parts)
            self._check(verb, where, response)
            answer: Object = response.json()
            return answer

    def _headers(self) -> dict[str, str]:
        try:
            token = self._cluster.token()
        except (OSError, InvalidKubernetes) as error:
            raise Unreachable(f"{self._cluster.who} has no token: {error}") from error
        return {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def _extensions(self) -> dict[str, Any]:
        return {} if self._cluster.tls_name is None else {"sni_hostname": self._cluster.tls_name}

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError) as error:
            raise Unreachable(f"the Kubernetes API at {self._cluster.server} does not answer: {error!r}") from error

    def _check(self, verb: str, where: ConfigMapName, response: httpx.Response) -> None:
        if response.is_success:
            return
        try:
            message = response.json()["message"]
        except (ValueError, LookupError, TypeError):
            message = response.text[:200]
        text = f"{verb} of ConfigMap {where}: {response.status_code}: {message}"
        if response.status_code == httpx.codes.FORBIDDEN:
            text += (
                f"; {self._cluster.who} needs a Role in namespace {where.namespace} with the rule "
                f'{{apiGroups: [""], resources: [configmaps], resourceNames: [{where.name}], verbs: [{verb}]}}'
            )
        elif response.status_code == httpx.codes.UNAUTHORIZED:
            text += f"; {self._cluster.who} is not known to {self._cluster.server}"
        elif response.status_code == httpx.codes.NOT_FOUND:
            text += "; see `Rollouts` in docs/kubernetes.md, or name another with NAMESPACE/NAME"
        kind = Unreachable if response.is_server_error else _ERRORS.get(response.status_code, KubernetesError)
        raise kind(text)


def _path(where: ConfigMapName, name: str | None = None) -> str:
    return f"/api/v1/namespaces/{where.namespace}/configmaps" + (f"/{name}" if name else "")


def _selected(where: ConfigMapName) -> dict[str, str]:
    # With this selector a Role may name the object: rules for list and watch then count for it alone.
    return {"fieldSelector": f"metadata.name={where.name}"}
