"""Pages of HTML: strict about what a browser may do with them."""

import base64
import hashlib

from flask import Response


def html_page(html: str, style: str) -> Response:
    """A page that may use ``style`` (the text of its one ``<style>``) and nothing else: no script, frame or address."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    response = Response(html, mimetype="text/html")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response
