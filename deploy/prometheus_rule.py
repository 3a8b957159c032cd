"""The rules of ``deploy/prometheus`` as the object that a Prometheus operator on Kubernetes reads.

``python -m deploy.prometheus_rule`` writes ``k8s/components/monitoring/prometheusrule.yaml``; a test compares.
"""

from pathlib import Path
from typing import Any

import yaml

from headway_contract.durable_files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "prometheus" / "headway.rules.yml"
OBJECT = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
_HEAD = "# Made from deploy/prometheus/headway.rules.yml by: make monitoring\n"


def prometheus_rule() -> dict[str, Any]:
    """The object, of the operator's API ``monitoring.coreos.com/v1``."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "headway", "labels": {"app.kubernetes.io/name": "headway-rules"}},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }


def text() -> str:
    """The object as the file has it."""
    return _HEAD + yaml.dump(prometheus_rule(), Dumper=_WithoutAliases, sort_keys=False, width=120)


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


if __name__ == "__main__":
    write_atomically(OBJECT, text().encode())
