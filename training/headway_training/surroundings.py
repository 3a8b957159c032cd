"""What a run was made with: the versions of the packages that decide its result, and the commit it started from."""

import importlib.metadata
import platform
import subprocess

_PACKAGES = ("headway", "tensorflow", "keras", "numpy", "pillow", "mlxtend", "scikit-learn")


def package_versions() -> dict[str, str]:
    """Python and the packages by name."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def git_commit() -> str | None:
    """The commit of the folder the run started in; None outside a repository or without git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
