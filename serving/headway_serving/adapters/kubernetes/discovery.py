"""Which API server is asked, and as whom: in a pod its service account, else the kubeconfig, as ``kubectl`` does it.

Source: kubernetes.io, "Accessing the Kubernetes API from a Pod" and "Organizing Cluster Access Using kubeconfig Files".
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.errors import InvalidKubernetes

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def find_cluster(environment: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> Cluster:
    """The cluster of ``KUBECONFIG``, else that of the pod this runs in, else that of ``~/.kube/config``.

    Raises :class:`InvalidKubernetes`.
    """
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    named = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    if not named and "KUBERNETES_SERVICE_HOST" in environment:
        return _of_pod(environment, account)
    files = [path for path in named or [home] if path.exists()]
    if not files:
        listed = ", ".join(map(str, named or [home]))
        raise InvalidKubernetes(
            f"no cluster is known: this is not a pod with a service account, and there is no kubeconfig ({listed}); "
            "name one with KUBECONFIG"
        )
    # An extra's package, and only outside of a cluster.
    from headway_serving.adapters.kubernetes.kubeconfig import read_kubeconfig  # noqa: PLC0415

    return read_kubeconfig(files)


def _of_pod(environment: Mapping[str, str], account: Path) -> Cluster:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = account / "token", account / "ca.crt"
    try:
        token.read_text(encoding="utf-8")
        tls = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise InvalidKubernetes(
            f"this pod has no service account that can be used ({account}: {error}); its template needs "
            "serviceAccountName, and automountServiceAccountToken: true"
        ) from error
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return Cluster(server, lambda: token.read_text(encoding="utf-8").strip(), tls, "the pod's service account")
