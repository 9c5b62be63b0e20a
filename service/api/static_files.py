"""The files that our pages load: style, scripts, htmx; sent under names with their digests, so that browsers keep them.

They lie in `static/`, which says where htmx is from. Pages name them by `SITE`; no page loads anything of another host.
"""

import hashlib
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from luthier.service.errors import NotFound

FOLDER = Path(__file__).parent / "static"
KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}  # a year
KINDS = {".css": "text/css", ".js": "text/javascript"}


def _name(path: Path) -> str:
    """Return a file's name with its digest: it is never used for other bytes."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    stem, _, rest = path.name.partition(".")
    return f"{stem}-{digest}.{rest}"


FILES = {_name(path): path for path in sorted(FOLDER.iterdir()) if path.suffix in KINDS}
SITE = {path.name: f"/assets/{name}" for name, path in FILES.items()}  # a file's name -> its address
STYLE = "/site.css"  # of the login too, so that it needs no token
SITE["site.css"] = f"{STYLE}?{next(name for name in FILES if name.startswith('site-') and name.endswith('.css'))}"


def send(name: str) -> FileResponse:
    """Answer with one of the files, to be kept for a year. Raises NotFound."""
    if name not in FILES:
        raise NotFound(f"There is no {name}: the page that asks for it is of another version; load it again.")
    path = FILES[name]
    return FileResponse(path, media_type=KINDS[path.suffix], headers=KEPT)


def install(app: FastAPI) -> None:
    """Add the address of the style to `app`; that of the others is in `plots.py`, beside plotly's."""

    @app.get(STYLE, include_in_schema=False)
    def _style() -> FileResponse:
        return FileResponse(FOLDER / "site.css", media_type=KINDS[".css"], headers=KEPT)
