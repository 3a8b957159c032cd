"""Which cluster is asked: KUBECONFIG's, the pod's own, or that of the home folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from headway_serving.adapters.kubernetes.discovery import find_cluster
from headway_serving.adapters.kubernetes.errors import InvalidKubernetes
from tests.unit.serving.adapters.kubernetes.test_kubeconfig import certificate, kubeconfig

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_in_a_pod_it_is_the_service_account_whose_token_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    (tmp_path / "ca.crt").write_bytes(certificate(tmp_path)[0])
    cluster = find_cluster({**IN_CLUSTER, "HOME": str(tmp_path)}, tmp_path)
    assert (cluster.server, cluster.token(), cluster.tls is not None) == ("https://10.0.0.1:443", "one", True)
    (tmp_path / "token").write_text("two\n")
    assert cluster.token() == "two"
    six = find_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1"}, tmp_path)
    assert six.server == "https://[fd00::1]:443"


def test_kubeconfig_comes_before_the_pod_and_the_pod_before_the_home(tmp_path: Path) -> None:
    named = kubeconfig(tmp_path / "named", {"server": "http://named"}, {})
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", {"server": "http://home"}, {})
    home = {"HOME": str(tmp_path)}
    assert find_cluster({**home, **IN_CLUSTER, "KUBECONFIG": str(named)}).server == "http://named"
    assert find_cluster(home).server == "http://home"
    with pytest.raises(InvalidKubernetes, match="serviceAccountName, and automountServiceAccountToken: true"):
        find_cluster({**home, **IN_CLUSTER}, tmp_path / "none")


def test_without_any_cluster_it_is_said_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidKubernetes, match=r"no cluster is known: .*name one with KUBECONFIG"):
        find_cluster({"HOME": str(tmp_path)})


def test_the_gateway_imports_nothing_of_it_unless_it_is_used() -> None:
    code = (
        "import sys, headway_serving.gateway.composition; "
        "print(*sorted(name for name in sys.modules if 'kubernetes' in name or name == 'yaml'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
