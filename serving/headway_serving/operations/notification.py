"""Tells somebody that a rollout is over or held: a web hook gets a POST, a command gets the same JSON on its input."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

import httpx

_TIMEOUT_SECONDS = 10.0


_SHELL = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"})


def check_target(target: str) -> str:
    """The target, if it can be told anything. Raises ValueError for a command that only a shell would understand."""
    if target.startswith(("http://", "https://")):
        return target
    words = shlex.split(target)
    signs = sorted(_SHELL.intersection(words))
    if signs or not words:
        what = f"{signs[0]} is a shell's" if signs else "it is empty"
        raise ValueError(f"{target!r} is run without a shell, and {what}; write: sh -c '...'")
    return target


def notify(target: str, event: Mapping[str, Any]) -> str | None:
    """Send ``event`` to a URL or a command line. Returns what went wrong, or None; nothing depends on it.

    A command has ten seconds, and is run without a shell.
    """
    document = json.dumps(event, ensure_ascii=False)
    try:
        if target.startswith(("http://", "https://")):
            headers = {"Content-Type": "application/json"}
            response = httpx.post(target, content=document.encode(), headers=headers, timeout=_TIMEOUT_SECONDS)
            response.raise_for_status()
        else:
            subprocess.run(  # the operator's own command
                shlex.split(target), input=document.encode(), check=True, timeout=_TIMEOUT_SECONDS, capture_output=True
            )
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        return f"--notify {target}: {error}"
    return None
