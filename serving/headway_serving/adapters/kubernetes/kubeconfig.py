"""Reads kubeconfig files: the current context's server, and how to show who one is.

What is read: ``server``, ``certificate-authority[-data]``, ``insecure-skip-tls-verify``, ``tls-server-name``,
``token``, ``tokenFile``, ``client-certificate[-data]``, ``client-key[-data]``, ``exec``. Others are refused, not
ignored: a ``proxy-url`` that is not followed would send a token somewhere else.
Source: the reference of ``kubeconfig (v1)``.
"""

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.errors import InvalidKubernetes

_CLUSTER_KEYS = {"server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
                 "tls-server-name", "extensions", "disable-compression"}  # fmt: skip
_USER_KEYS = {"token", "tokenFile", "client-certificate", "client-certificate-data", "client-key", "client-key-data",
              "exec", "extensions"}  # fmt: skip
_EXEC_SECONDS = 60.0
_EXEC_EARLY_SECONDS = 60.0
"""A token of a command is asked for anew so long before it ends."""


def read_kubeconfig(files: Sequence[Path]) -> Cluster:
    """The current context's cluster and user; of a name that several files have, the first counts.

    Raises :class:`InvalidKubernetes`.
    """
    documents = [(path, _document(path)) for path in files]
    context_name = next((text for _, each in documents if (text := each.get("current-context"))), None)
    if not context_name:
        raise InvalidKubernetes(f"{files[0]} names no current-context; choose one: kubectl config use-context NAME")
    _, context = _named(documents, "contexts", "context", context_name)
    folder, cluster = _named(documents, "clusters", "cluster", context.get("cluster"))
    user_folder, user = (folder, {}) if not context.get("user") else _named(documents, "users", "user", context["user"])
    for what, entry, known in (("cluster", cluster, _CLUSTER_KEYS), ("user", user, _USER_KEYS)):
        if unknown := sorted(set(entry) - known):
            raise InvalidKubernetes(f"context {context_name}: {what} has {', '.join(unknown)}, which is not supported")
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise InvalidKubernetes(f"context {context_name}: server {server!r} is not an http or https URL")
    tls = _tls(cluster, folder, user, user_folder) if server.startswith("https://") else None
    return Cluster(server, _token(user, user_folder), tls, f"context {context_name}", cluster.get("tls-server-name"))


def _document(path: Path) -> Mapping[str, Any]:
    try:
        import yaml  # noqa: PLC0415  # an extra's package
    except ImportError as error:
        raise InvalidKubernetes("kubeconfig files need PyYAML: pip install 'headway[kubernetes]'") from error
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidKubernetes(f"kubeconfig {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InvalidKubernetes(f"kubeconfig {path} is no object")
    return document


def _named(
    documents: Sequence[tuple[Path, Mapping[str, Any]]], kind: str, key: str, name: object
) -> tuple[Path, Mapping[str, Any]]:
    """The entry of that name, and the folder that its relative paths begin at."""
    for path, document in documents:
        for each in document.get(kind) or []:
            if isinstance(each, dict) and each.get("name") == name and isinstance(each.get(key), dict):
                return path.parent, each[key]
    raise InvalidKubernetes(f"{', '.join(str(path) for path, _ in documents)}: there is no {key} {name!r} in {kind}")


def _tls(cluster: Mapping[str, Any], folder: Path, user: Mapping[str, Any], user_folder: Path) -> ssl.SSLContext:
    try:
        authority = _content(cluster, "certificate-authority", folder)
        tls = ssl.create_default_context(cadata=None if authority is None else authority.decode("ascii"))
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        certificate, key = (_content(user, name, user_folder) for name in ("client-certificate", "client-key"))
        if certificate is not None and key is not None:
            # The ssl module reads both from a file alone.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                tls.load_cert_chain(file.name)
    except (OSError, ValueError) as error:
        raise InvalidKubernetes(f"a certificate or key of the kubeconfig cannot be used: {error}") from error
    return tls


def _content(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    if entry.get(f"{key}-data"):
        try:
            return base64.b64decode(str(entry[f"{key}-data"]), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{key}-data is not base64") from error
    return (folder / str(entry[key])).read_bytes() if entry.get(key) else None


def _token(user: Mapping[str, Any], folder: Path) -> Callable[[], str | None]:
    if user.get("token"):
        token = str(user["token"])
        return lambda: token
    if user.get("tokenFile"):
        path = folder / str(user["tokenFile"])
        return lambda: path.read_text(encoding="utf-8").strip()
    if user.get("exec"):
        return _ExecToken(user["exec"], folder).get
    return lambda: None


@dataclass
class _ExecToken:
    """The token that a command prints, as cloud providers have it; asked for again when it ends."""

    entry: Mapping[str, Any]
    folder: Path
    token: str | None = None
    ends: float = field(default=0.0)

    def get(self) -> str | None:
        if self.token is None or time.time() >= self.ends - _EXEC_EARLY_SECONDS:
            self._ask()
        return self.token

    def _ask(self) -> None:
        command = str(self.entry.get("command", ""))
        path = str(self.folder / command) if os.sep in command else command
        variables = {str(each["name"]): str(each["value"]) for each in self.entry.get("env") or []}
        asked = {"apiVersion": self.entry.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
        try:
            run = subprocess.run(
                [path, *map(str, self.entry.get("args") or [])], env=environment, capture_output=True,
                timeout=_EXEC_SECONDS, check=True,
            )  # fmt: skip
            status = json.loads(run.stdout)["status"]
            self.token = str(status["token"])
            ends = status.get("expirationTimestamp")
            self.ends = float("inf") if ends is None else datetime.fromisoformat(ends).timestamp()
        except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
            raise InvalidKubernetes(f"the kubeconfig's command {command} gives no token: {error!r}") from error
