"""What this machine's processor computes quickly: training measures versions in it, and model servers choose by it."""

import os
from collections.abc import Mapping
from pathlib import Path

_BFLOAT16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})


def bfloat16_obstacle(cpuinfo: str, environment: Mapping[str, str]) -> str | None:
    """Why bfloat16 does not pay on the machine that ``/proc/cpuinfo`` describes so; None if it does."""
    if environment.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return "TF_ENABLE_ONEDNN_OPTS=0 switches off oneDNN, which would do it: everything is computed in float32"
    flags = {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}
    if not flags & _BFLOAT16_INSTRUCTIONS:
        names = " nor ".join(sorted(_BFLOAT16_INSTRUCTIONS))
        return f"this processor has neither {names}: bfloat16 costs time here instead of saving it"
    return None


def bfloat16_obstacle_here() -> str | None:
    """Why bfloat16 does not pay on this machine, or None."""
    path = Path("/proc/cpuinfo")
    return bfloat16_obstacle(path.read_text("utf-8", "replace") if path.is_file() else "", os.environ)
