"""The page /docs: Swagger UI over our OpenAPI document, from files of a package: no other host is asked.

`fastapi-offline` brings the files (MIT; Swagger UI itself: Apache-2.0). It is not imported: it would set up pages of
its own. Its files are sent under names with their digests, so that a browser keeps them and never mixes two versions.
"""

import base64
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse

from luthier.service.api.pages import render
from luthier.service.errors import NotFound

KINDS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}  # the package's file -> media type
KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}  # a year
START = (
    'window.SwaggerUIBundle&&SwaggerUIBundle({url:"/openapi.json",dom_id:"#docs",deepLinking:true,validatorUrl:null})'
)
_START_DIGEST = base64.b64encode(hashlib.sha256(START.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{_START_DIGEST}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _files() -> dict[str, tuple[Path, str]]:
    """Return the files of Swagger UI: name with digest -> path and media type."""
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or not spec.submodule_search_locations:
        raise NotFound("Swagger UI is not installed: pip install fastapi-offline; /openapi.json describes every route.")
    folder = Path(spec.submodule_search_locations[0]) / "static"
    files = {}
    for name, kind in KINDS.items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]
        stem, dot, suffix = name.rpartition(".")
        files[f"{stem}-{digest}{dot}{suffix}"] = (folder / name, kind)
    return files


def install(app: FastAPI) -> None:
    """Add the page and its files to `app`."""

    @app.get("/docs", include_in_schema=False)
    def _docs() -> HTMLResponse:
        script, style = (f"/docs/{name}" for name in _files())
        return render("docs.html", script=script, style=style, start=START)

    @app.get("/docs/{name}", include_in_schema=False)
    def _file(name: str) -> FileResponse:
        if name not in _files():
            raise NotFound(f"There is no {name}: the page that asks for it is of another version; load it again.")
        path, kind = _files()[name]
        return FileResponse(path, media_type=kind, headers=KEPT)
