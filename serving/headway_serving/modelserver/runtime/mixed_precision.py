"""Which versions are computed in bfloat16: what ``--mixed_precision`` says, and what a version says of itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from headway_contract.errors import InvalidManifest
from headway_contract.model_manifest import BFLOAT16, ModelManifest, Precision
from headway_contract.model_repository import MANIFEST_FILE
from headway_serving.modelserver.errors import invalid_argument

AUTO, OFF = "auto", "off"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MixedPrecision:
    """``mode``: ``auto``, ``off`` or ``bfloat16``. ``obstacle``: why bfloat16 does not pay on this machine, or None.

    With ``auto`` versions whose manifest allows it are computed in bfloat16, where it pays; with ``bfloat16``, as in
    TensorFlow Serving, all are, but for those whose manifest says that they must not.
    """

    mode: str
    obstacle: str | None

    def applies(self, directory: Path) -> bool:
        """Whether the version in ``directory`` is computed in bfloat16."""
        if self.mode == OFF or (self.mode == AUTO and self.obstacle is not None):
            return False
        certificate = _certificate(directory)
        if self.mode == AUTO:
            return certificate is not None and certificate.allowed
        if certificate is not None and not certificate.allowed:
            _log.warning("%s is computed in float32: its manifest does not allow bfloat16", directory)
            return False
        return True


def mode_of(flag: str) -> str:
    """The mode that the flag's value means; "" is ``auto``. Raises StatusError INVALID_ARGUMENT for another one."""
    if flag not in ("", AUTO, OFF, BFLOAT16):
        raise invalid_argument(
            f'server_options.mixed_precision is "{flag}", which is not supported. Valid option: {BFLOAT16}, and here '
            f"{AUTO} or {OFF}"
        )
    return flag or AUTO


def _certificate(directory: Path) -> Precision | None:
    """What the version says of bfloat16; None if it says nothing, as those that were not exported by Headway."""
    path = directory / MANIFEST_FILE
    try:
        return ModelManifest.from_json(path.read_bytes()).precision(BFLOAT16)
    except FileNotFoundError:
        return None
    except (OSError, InvalidManifest) as error:
        _log.warning("%s is not used for its precision: %s", path, error)
        return None
