"""The documentation is complete: what the code offers stands in the reference, and what stands there exists."""

import dataclasses
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from headway_client.cli import VERBS
from headway_contract import jpeg_segments
from headway_serving.adapters.files.routes import RouteFile, parse_routes
from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.requests import DEFAULT_TOP_K
from headway_serving.gateway.app import Parts, create_gateway
from headway_serving.gateway.classify import endpoints as classify_endpoints
from headway_serving.gateway.requests import identity
from headway_serving.gateway.requests import problems as error_responses
from headway_serving.gateway.requests.pictures import PART_NAMES
from headway_serving.gateway.server import reading
from headway_serving.settings import PREFIX, GatewaySettings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
README = (ROOT / "README.md").read_text()


def first_cells(heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading: first cell's code -> all cells."""
    section = REFERENCE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)`(.*)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")[1:]] for name, rest in rows}


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {name: cells[0].strip("`") for name, cells in first_cells("Gateway settings").items()}
    expected = {}
    for item in dataclasses.fields(GatewaySettings):
        default = str(item.default).lower() if isinstance(item.default, bool) else str(item.default)
        default = "unset" if item.default is None else default
        expected[PREFIX + item.name.upper()] = default
    assert listed == expected


def shown(rule: str) -> str:
    return re.sub("<name:(.*?)>", r"{\1}", rule)


def test_every_route_is_listed(tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text('{"schema": 1, "models": {}}')
    metrics = PrometheusMetrics(CollectorRegistry())
    parts = Parts(RouteFile(routes, 1.0), TfServingPredictor("127.0.0.1:1"), metrics)
    app = create_gateway(parts, GatewaySettings()).app
    served = {
        f"{method} {shown(rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE", "PATCH"}
        if rule.endpoint != "static"
    }
    assert set(first_cells("HTTP routes")) == served


def test_every_problem_is_listed_with_its_status() -> None:
    listed = {code: int(cells[0]) for code, cells in first_cells("Problems").items()}
    assert listed == {code: row.status for code, row in error_responses.problems_by_code().items()}


def test_every_metric_is_listed_with_its_labels() -> None:
    listed = {name: (cells[0], cells[1]) for name, cells in first_cells("Metrics").items()}
    assert listed == {each.name: (each.kind, ", ".join(each.labels)) for each in (*names.GATEWAY, *names.MODEL_SERVER)}


def test_the_routes_example_is_one_that_the_gateway_reads() -> None:
    example = re.search(r"```json\n(\{\"schema\".*?)```", REFERENCE, re.DOTALL)
    assert example
    assert parse_routes(example.group(1)).of("digits-0to4").candidate


@cache
def help_of(verb: str) -> str:
    command = [sys.executable, "-m", "headway_client.cli", verb, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("verb", [each.name for each in VERBS])
def test_every_verb_and_flag_is_listed(verb: str) -> None:
    commands = REFERENCE.partition("## Commands\n")[2].partition("\n## ")[0]
    assert f"`headway {verb}" in commands
    flags = set(re.findall(r"(--[a-z][a-z-]+)", help_of(verb))) - {"--help"}
    assert not {flag for flag in flags if flag not in commands}


def test_what_the_readme_tells_to_type_exists() -> None:
    lines = [line.partition("#")[0].split() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
             for line in block.splitlines()]  # fmt: skip
    verbs = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    typed = [line for line in lines if line]
    assert ["make", "demo"] in typed
    assert ["make", "test"] in typed
    for command, *rest in typed:
        if command == "make":
            assert rest[0] in verbs
        elif command == "headway":
            assert rest[0] in [each.name for each in VERBS]
            for flag in (word for word in rest if word.startswith("--")):
                assert flag in help_of(rest[0]), f"headway {rest[0]} has no {flag}"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/reference.md",
        "docs/training.md",
        "docs/protocols.md",
        "docs/metrics.md",
        "docs/runbook.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert not [link for link in targets if not (ROOT / page).parent.joinpath(link).exists()]


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 100


def test_the_limits_of_the_http_server_are_those_of_the_code() -> None:
    section = REFERENCE.partition("## What the server answers by itself\n")[2]
    told = re.sub(r"\s+", " ", section)
    for fact in (
        f"more than {reading.MOST_HEADERS} headers or {reading.MOST_HEAD_BYTES:,} bytes of them (431)",
        f"a request line of more than {reading.MOST_HEAD_BYTES:,} bytes (414)",
        f"headers that take more than {reading.HEAD_SECONDS:g} s",
        f"idle for {reading.KEEP_ALIVE_SECONDS:g} s",
    ):
        assert fact in told


def test_the_names_of_a_forms_parts_are_those_of_the_code() -> None:
    first, *others = PART_NAMES
    named = ", ".join(f"`{name}`" for name in others[:-1])
    assert f"parts named `{first}` (also {named} or `{others[-1]}`;" in REFERENCE


def test_the_numbers_of_the_reference_are_those_of_the_code() -> None:
    told = re.sub(r"\s+", " ", REFERENCE)
    for fact in (
        f"(1 to {classify_endpoints.MOST_MODELS} models)",
        f"kept if it is 1 to {identity.LONGEST_ID} letters, digits",
        f"`top_k` (default {DEFAULT_TOP_K},",
        f"JPEG of more than {jpeg_segments.MOST_SCANS} scans",
    ):
        assert fact in told, fact


def defaults_told(*command: str) -> dict[str, str]:
    """The default of each flag, as ``--help`` of a command tells it."""
    told = subprocess.run(
        [sys.executable, "-m", "headway_client.cli", *command, "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "1000"},
    ).stdout  # fmt: skip
    # A flag with a long value has its text on the next line.
    joined = re.sub(r"\n {20,}", " ", told)
    return dict(re.findall(r"^ +(--[a-z0-9-]+) .*\(default: ([^ );]+?)(?:, off|;[^)]*)?\)", joined, re.MULTILINE))


def test_the_defaults_of_a_rollout_are_those_of_the_command() -> None:
    listed = {name: cells[0].strip("`") for name, cells in first_cells("Commands").items() if name.startswith("--")}
    assert len(listed) == 15
    told = defaults_told("rollout", "start")
    assert {name: told[name] for name in listed} == listed


def test_the_defaults_of_serving_are_those_of_the_command() -> None:
    told = defaults_told("serve")
    paragraph = REFERENCE.partition("\n`headway serve`: ")[2].partition("\n\n")[0]
    for flag in ("--host", "--port", "--grpc-port"):
        assert f"`{flag}` ({told[flag]})" in paragraph
    assert f"`--repository DIR` (default `{told['--repository']}`)" in paragraph
