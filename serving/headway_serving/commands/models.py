"""``headway models``: every version, what it is worth, whether it is loaded, and who gets traffic."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from headway_contract.errors import ContractError
from headway_contract.model_manifest import BFLOAT16, ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import InvalidRoutes, read_routes
from headway_serving.commands import model_changes
from headway_serving.commands.document_places import add_kubernetes, routes_place
from headway_serving.core.routing import ModelRoutes

_TIMEOUT_SECONDS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """List the models, add or remove some. Exit codes: 0 done, 2 refused.

    A gateway that is away costs a list only the states.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in ("add", "remove"):
        return model_changes.main(given[0], given[1:])
    arguments = _parser().parse_args(given)
    repository = ModelRepository(arguments.repository)
    try:
        place = routes_place(arguments)
        routed = {} if isinstance(place, Path) and not place.exists() else read_routes(place).models
    except (InvalidRoutes, ValueError, OSError) as error:
        sys.stderr.write(f"headway models: {error}\n")
        return 2
    states, problem = _states(arguments.url)
    rows = [
        _row(repository, model, version, routed.get(model), states.get(model, {}))
        for model in sorted({*repository.models(), *routed})
        for version in sorted({*repository.versions(model), *(routed[model].versions() if model in routed else ())})
    ]
    if arguments.json:
        sys.stdout.write(json.dumps({"versions": rows, "gateway": problem or "answers"}, ensure_ascii=False) + "\n")
        return 0
    _write_table(rows)
    if problem:
        sys.stderr.write(f"headway models: states are unknown: {problem}\n")
    return 0


def _row(
    repository: ModelRepository, model: str, version: int, routes: ModelRoutes | None, states: Mapping[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "version": version, "state": states.get(str(version)),
                           "traffic": _traffic(routes, version), "labels": _labels(routes, version)}  # fmt: skip
    try:
        manifest = repository.manifest(model, version)
        accuracy = manifest.test_accuracy
        row |= {
            "accuracy": None if accuracy is None else accuracy.value,
            "classes": len(manifest.labels),
            "form": manifest.form,
            "bfloat16": _bfloat16(manifest),
            "created": manifest.provenance.created,
            "digest": repository.digest(model, version),
            "problem": None,
        }
    except ContractError as error:
        row["problem"] = str(error)
    return row


def _bfloat16(manifest: ModelManifest) -> str:
    measured = manifest.precision(BFLOAT16)
    if measured is None:
        return "not measured"
    return "may" if measured.allowed else "must not"


def _traffic(routes: ModelRoutes | None, version: int) -> str | None:
    """The part the version plays, with its share; None if it gets no traffic."""
    if routes is None:
        return None
    weight = 0.0 if routes.candidate is None else routes.candidate.weight
    parts = [f"stable {100 * (1 - weight):g} %"] if version == routes.stable else []
    if routes.candidate is not None and version == routes.candidate.version:
        parts.append(f"candidate {100 * weight:g} %")
    if routes.shadow is not None and version == routes.shadow.version:
        parts.append(f"shadow {100 * routes.shadow.share:g} %")
    return ", ".join(parts) or None


def _labels(routes: ModelRoutes | None, version: int) -> list[str]:
    return [] if routes is None else sorted(label for label, each in routes.labels.items() if each == version)


def _states(url: str) -> tuple[dict[str, dict[str, str]], str | None]:
    """What the gateway says of the versions by model, or why it says nothing."""
    token = os.environ.get("HEADWAY_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = httpx.get(f"{url.rstrip('/')}/v1/models", headers=headers, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
        return {each["name"]: each["states"] for each in response.json()["models"]}, None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        return {}, f"{url}: {error}"


def _write_table(rows: Sequence[Mapping[str, Any]]) -> None:
    heads = ("model", "version", "state", "traffic", "labels", "accuracy", "classes", "form", "bfloat16", "digest")
    table = [heads, *(tuple(_cell(row, head) for head in heads) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
    for line in table:
        sys.stdout.write(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        )
    for row in rows:
        if row["problem"]:
            sys.stdout.write(f"{row['model']}/{row['version']}: {row['problem']}\n")


def _cell(row: Mapping[str, Any], head: str) -> str:
    value = row.get(head)
    if head == "accuracy" and value is not None:
        return f"{value:.2%}"
    if head == "digest" and value:
        return str(value).removeprefix("sha256:")[:12]
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway models",
        description="List versions: state, traffic, labels, accuracy and digest.",
        epilog="headway models add|remove NAME[/VERSION] changes what is served; --help after the verb says how.",
    )
    parser.add_argument("--repository", type=Path, default=Path("models"), help="the models (default: models)")
    parser.add_argument("--routes", type=Path, help="routes.json (default: in the repository)")
    add_kubernetes(parser)
    parser.add_argument(
        "--url", default=os.environ.get("HEADWAY_URL") or "http://127.0.0.1:8080",
        help="the gateway that knows what is loaded (default: HEADWAY_URL, else %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
