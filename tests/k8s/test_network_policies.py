"""The connections that the policies allow are exactly those that docs/kubernetes.md draws."""

from pathlib import Path

import pytest

from tests.k8s.manifests import COMPONENTS, OVERLAYS, ROOT, Document, find, of_kind, with_components
from tests.k8s.network_policies import Peer, allowed

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
PORTS = [("TCP", port) for port in (22, 53, 80, 443, 6443, 8080, 8500, 8501, 9090, 9091)] + [("UDP", 53), ("UDP", 8500)]
PART = ("app.kubernetes.io/part-of", "headway")
OUTSIDE = (
    Peer("client", None),
    Peer("stranger", "headway"),
    Peer("pod of another namespace", "shop", (("app.kubernetes.io/name", "headway-gateway"),)),
    Peer("a Prometheus that is none", "shop", (("app.kubernetes.io/name", "prometheus"),)),
    Peer("Prometheus", "monitoring", (("app.kubernetes.io/name", "prometheus"),)),
    Peer("DNS", "kube-system", (("k8s-app", "kube-dns"),)),
)

Edges = set[tuple[str, str, str, int]]


def drawn(components: tuple[str, ...]) -> Edges:
    """The table of the page: from, to, ports, with which component."""
    section = PAGE.partition("## Who may talk to whom\n")[2].partition("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:2] == "| "]
    edges = Edges()
    for source, target, ports, component in rows[1:]:
        if component and component not in components:
            continue
        for each in ports.split(", "):
            protocol, port = each.split() if " " in each else ("TCP", each)
            edges |= {(one, other, protocol, int(port)) for one in _everybody(source) for other in _everybody(target)}
    assert edges
    return edges


def _everybody(word: str) -> list[str]:
    return [each.name for each in OUTSIDE] if word == "anybody" else [word]


def peers(documents: list[Document]) -> tuple[Peer, ...]:
    def of(name: str) -> Peer:
        template = find(documents, "Deployment", f"headway-{name}")["spec"]["template"]
        return Peer(name.replace("-", " "), "headway", tuple(template["metadata"]["labels"].items()))

    controller = Peer("controller", "headway", (PART, ("app.kubernetes.io/component", "controller")))
    return (*OUTSIDE, of("gateway"), of("model-server"), controller, Peer("other pod of Headway", "headway", (PART,)))


@pytest.mark.parametrize(
    "components",
    [
        (),
        ("monitoring",),
        ("object-storage",),
        ("rollout",),
        ("autoscaling", "monitoring", "object-storage", "rollout"),
    ],
)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_allowed_edges_are_those_that_are_drawn(overlay: str, components: tuple[str, ...], tmp_path: Path) -> None:
    assert set(components) <= set(COMPONENTS)
    documents = with_components(overlay, components, tmp_path)
    policies, everyone = of_kind(documents, "NetworkPolicy"), peers(documents)
    found = {
        (source.name, target.name, protocol, port)
        for source in everyone
        for target in everyone
        for protocol, port in PORTS
        # What strangers do among themselves is not ours to decide.
        if source is not target and not (source in OUTSIDE and target in OUTSIDE)
        and allowed(policies, source, target, protocol, port)
    }  # fmt: skip
    assert found == drawn(components)


def test_an_edge_more_would_be_noticed(tmp_path: Path) -> None:
    documents = with_components(OVERLAYS[0], (), tmp_path)
    policies = of_kind(documents, "NetworkPolicy")
    (server,) = [each for each in policies if each["metadata"]["name"] == "headway-model-server"]
    stranger, target = OUTSIDE[1], next(peer for peer in peers(documents) if peer.name == "model server")
    assert not allowed(policies, stranger, target, "TCP", 8500)
    server["spec"]["ingress"].append({"ports": [{"protocol": "TCP", "port": 8500}]})
    assert allowed(policies, stranger, target, "TCP", 8500)
