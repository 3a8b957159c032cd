"""Tells somebody that a rollout is over or held: a web hook gets a POST, a command gets the same JSON on its input."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

import httpx

_TIMEOUT_SECONDS = 10.0


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
