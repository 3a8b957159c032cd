"""The two processes of ``headway serve``: the commands that start them, and what the gateway is given to know."""

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from headway_contract.errors import ContractError
from headway_contract.model_manifest import BFLOAT16
from headway_contract.plain_paths import is_plain
from headway_contract.processor import bfloat16_obstacle_here
from headway_serving.adapters.files.routes import read_routes
from headway_serving.commands.serve_arguments import TFSERVING, CannotServe, Plan

_log = logging.getLogger("headway.serve")

EMBEDDED = "headway_serving.modelserver"
_EMBEDDED_FLAGS = (
    "--isolate_models=true",  # one broken model must not keep a laptop's others from being served
    "--bind_address=127.0.0.1",  # only the gateway on this machine asks it
)
_FEW_CPUS = 2
"""On so few, requests beside each other keep them busy, and dividing one run's operations only costs: see docs."""
_LOADING_FLAGS = (
    # The files are on this machine: what cannot be read after 3 s will not be after 5 minutes, and somebody may wait.
    "--max_num_load_retries=3",
    "--load_retry_interval_micros=1000000",
)


def model_server_command(plan: Plan) -> list[str] | None:
    """The command that starts the model server; None if it runs already. Raises :class:`CannotServe`."""
    choice = plan.model_server
    if not plan.starts_model_server:
        if plan.mixed_precision == BFLOAT16:
            raise CannotServe(
                f"--mixed-precision: the model server at {choice} runs already; start that one with "
                f"--mixed_precision={plan.mixed_precision}"
            )
        return None
    plain = is_plain(plan.repository.root.resolve())
    if choice == "auto":
        choice = (shutil.which(TFSERVING) if plain else None) or "embedded"
    if choice == "embedded":
        binary = [sys.executable, "-m", EMBEDDED, *_EMBEDDED_FLAGS]
        binary.append(f"--mixed_precision={plan.mixed_precision}")
        if (os.cpu_count() or 1) <= _FEW_CPUS:
            binary.append("--tensorflow_intra_op_parallelism=1")
    elif shutil.which(choice):
        if not plain:
            raise CannotServe(
                f"--model-server {choice}: TensorFlow Serving takes one of [ ] * ? \\ in {plan.repository.root} for a "
                "pattern and would find no variables; rename the folder, or use --model-server embedded"
            )
        binary = [choice, *_tfserving_precision(plan)]
    else:
        raise CannotServe(
            f"--model-server {choice}: neither auto, embedded, HOST:PORT nor a program that can be run; "
            f"give the path of {TFSERVING}"
        )
    flags = [
        f"--port={plan.grpc_port}",
        f"--rest_api_port={plan.rest_port or 0}",
        f"--model_config_file={plan.models_config}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
        *_LOADING_FLAGS,
    ]
    return [*binary, *flags]


def _tfserving_precision(plan: Plan) -> list[str]:
    """The flag of TensorFlow Serving, which is for all models, if it is asked for; else say whether all may."""
    if plan.mixed_precision == BFLOAT16:
        return [f"--mixed_precision={BFLOAT16}"]
    if plan.mixed_precision == "auto" and bfloat16_obstacle_here() is None:
        others = _not_for_bfloat16(plan)
        if others:
            _log.info("not every version may be computed in %s, so none is: %s", BFLOAT16, ", ".join(others))
        else:
            _log.info("every version may be computed in %s; --mixed-precision %s does it", BFLOAT16, BFLOAT16)
    return []


def _not_for_bfloat16(plan: Plan) -> list[str]:
    """The routed versions that were not measured to bear it."""
    found = []
    for name, routes in sorted(read_routes(plan.routes).models.items()):
        for version in routes.versions():
            try:
                measured = plan.repository.manifest(name, version).precision(BFLOAT16)
            except ContractError:
                measured = None
            if measured is None or not measured.allowed:
                found.append(f"{name}/{version}")
    return found


def gateway_command() -> list[str]:
    """The command that starts the gateway."""
    return [sys.executable, "-m", "headway_serving.gateway"]


def gateway_environment(plan: Plan, supervision: Path) -> Mapping[str, str]:
    """The environment of the gateway: ours, and what it has to know. ``supervision``: how its children do."""
    host = plan.target.removeprefix("dns:///").rpartition(":")[0]
    rest = {"HEADWAY_MODEL_SERVER_REST": f"http://{host}:{plan.rest_port}"} if plan.rest_port else {}
    return (
        os.environ
        | rest
        | {
            "HEADWAY_HOST": plan.host,
            "HEADWAY_PORT": str(plan.port),
            "HEADWAY_MODEL_SERVER": plan.target,
            "HEADWAY_ROUTES_FILE": str(plan.routes),
            "HEADWAY_SUPERVISION_FILE": str(supervision),
        }
    )
