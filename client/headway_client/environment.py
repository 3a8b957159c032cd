"""What the commands take from the environment: which gateway is asked, and the token that is sent to it."""

import os

from headway_client.client import DEFAULT_URL


def gateway_url() -> str:
    """HEADWAY_URL, else the default address."""
    return os.environ.get("HEADWAY_URL") or DEFAULT_URL


def token_header() -> dict[str, str]:
    """The header that shows HEADWAY_TOKEN; none without one."""
    token = os.environ.get("HEADWAY_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
