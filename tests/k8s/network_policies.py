"""Who may connect to whom, by the rules of NetworkPolicy: what no policy selects is open, else what a rule allows."""

from dataclasses import dataclass
from typing import Any

from tests.k8s.manifests import Document

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A pod, or an address outside of the cluster (no namespace)."""

    name: str
    namespace: str | None
    labels: tuple[tuple[str, str], ...] = ()

    def has(self, selector: Document) -> bool:
        """Whether a label selector chooses this pod; only `matchLabels` is used here."""
        assert selector.keys() <= {"matchLabels"}, selector
        return set(selector.get("matchLabels", {}).items()) <= set(self.labels)


def allowed(policies: list[Document], source: Peer, target: Peer, protocol: str, port: int) -> bool:
    """Whether the policies let `source` connect to that port of `target`."""
    return _open(policies, "Egress", source, target, protocol, port) and _open(
        policies, "Ingress", target, source, protocol, port
    )


def _open(policies: list[Document], direction: str, pod: Peer, other: Peer, protocol: str, port: int) -> bool:
    chosen = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"]
        and policy["metadata"]["namespace"] == pod.namespace
        and pod.has(policy["spec"]["podSelector"])
    ]
    rules = [(rule, spec) for spec in chosen for rule in spec.get(direction.lower()) or []]
    key = "to" if direction == "Egress" else "from"
    return not chosen or any(
        _names(rule.get(key), other, pod.namespace) and _opens(rule.get("ports"), protocol, port) for rule, _ in rules
    )


def _names(peers: list[Any] | None, other: Peer, namespace: str | None) -> bool:
    """Whether a rule's peers contain the other side; no peers are everybody."""
    return not peers or any(_is(peer, other, namespace) for peer in peers)


def _is(peer: Document, other: Peer, namespace: str | None) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"}, peer
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        place = Peer("", None, ((_NAMESPACE_LABEL, other.namespace),))
        if not place.has(peer["namespaceSelector"]):
            return False
    elif other.namespace != namespace:
        return False
    return other.has(peer.get("podSelector", {}))


def _opens(ports: list[Any] | None, protocol: str, port: int) -> bool:
    return not ports or any(each["protocol"] == protocol and each["port"] == port for each in ports)
