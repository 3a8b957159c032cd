"""What ``--mixed_precision`` may say, and whether this machine computes in bfloat16 at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from headway_serving.modelserver.errors import invalid_argument

BFLOAT16 = "bfloat16"
_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})


def wants_bfloat16(value: str) -> bool:
    """Read the flag's value. Raises StatusError INVALID_ARGUMENT for another than "" and "bfloat16"."""
    if value not in ("", BFLOAT16):
        raise invalid_argument(
            f'server_options.mixed_precision is "{value}", which is not supported. Valid option: {BFLOAT16}'
        )
    return value == BFLOAT16


def obstacle(cpuinfo: str, environment: Mapping[str, str]) -> str | None:
    """Say why bfloat16 does not pay on the machine that /proc/cpuinfo describes so; None if it does."""
    if environment.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return "TF_ENABLE_ONEDNN_OPTS=0 switches off oneDNN, which would do it: everything is computed in float32"
    flags = {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}
    if not flags & _INSTRUCTIONS:
        names = " nor ".join(sorted(_INSTRUCTIONS))
        return f"this processor has neither {names}: bfloat16 costs time here instead of saving it"
    return None


def obstacle_here() -> str | None:
    """Say why bfloat16 does not pay on this machine, or None."""
    path = Path("/proc/cpuinfo")
    return obstacle(path.read_text("utf-8", "replace") if path.is_file() else "", os.environ)
