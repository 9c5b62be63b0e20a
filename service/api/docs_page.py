"""The page /docs: Swagger UI over our OpenAPI document, its files checked by their digests.

FastAPI's own page takes whatever a content delivery network sends as the newest version 5, into pages that know the
user's cookie. To take a newer version: `npm pack swagger-ui-dist@VERSION`, and for both files
`openssl dgst -sha384 -binary FILE | openssl base64 -A`.
"""

import base64
import hashlib

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from luthier.service.api.pages import render

BASE = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
SCRIPT = f"{BASE}/swagger-ui-bundle.js"
SCRIPT_DIGEST = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
STYLE = f"{BASE}/swagger-ui.css"
STYLE_DIGEST = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
START = (
    'window.SwaggerUIBundle&&SwaggerUIBundle({url:"/openapi.json",dom_id:"#docs",deepLinking:true,validatorUrl:null})'
)
_START_DIGEST = base64.b64encode(hashlib.sha256(START.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src {SCRIPT} 'sha256-{_START_DIGEST}'; style-src {STYLE} 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Add the page to `app`."""

    @app.get("/docs", include_in_schema=False)
    def _docs() -> HTMLResponse:
        script, style = (SCRIPT, SCRIPT_DIGEST), (STYLE, STYLE_DIGEST)
        return render("docs.html", script=script, style=style, start=START)
