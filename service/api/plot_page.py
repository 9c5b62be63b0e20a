"""Plots as answers: plotly's JSON, a page that loads plotly from this service, a file that holds all it needs, a PNG.

Plotly's script has 4.8 MB. A browser gets it once, under a name with its version, and keeps it.
"""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from luthier.service.api.pages import render
from luthier.service.errors import NotFound

Format = Literal["html", "json"]
FigureFormat = Literal["html", "json", "png"]
_OF_PAGE = {"text/html": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}}
CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": _OF_PAGE}}  # of a route's answer, for OpenAPI
CONTENT_WITH_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {**_OF_PAGE, "image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
POLICY = (  # set by `security_headers.py`: the service's scripts only; plotly writes styles, and makes pictures to save
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
YEAR_SECONDS = 365 * 24 * 3600
PIECE_BYTES = 64 * 2**10


def _plotly() -> Path:
    """Return plotly's script in its package, which is not imported: that takes half a second."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"


START = Path(__file__).parent / "templates" / "plot.js"  # draws the page's figure
SCRIPTS = {  # in the order in which a page needs them; a name is never used for other bytes
    f"plotly-{importlib.metadata.version('plotly')}.min.js": _plotly(),
    f"plot-{hashlib.sha256(START.read_bytes()).hexdigest()[:12]}.js": START,
}


def script(name: str) -> FileResponse:
    """Answer with a script of the plots' pages, to be kept for a year. Raises NotFound."""
    if name not in SCRIPTS:
        raise NotFound(f"There is no {name}: the page that asks for it is of another version; load it again.")
    headers = {"Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable"}
    return FileResponse(SCRIPTS[name], media_type="text/javascript", headers=headers)


def answer(figure: str, format: Format, standalone: bool, name: str) -> Response:
    """Answer with a plot.

    Args:
        figure: plotly's JSON.
        format: html for a page, json for the figure itself.
        standalone: a page as a file to keep, which holds plotly's script.
        name: of the plot, as its title and file name.
    """
    if format == "json":
        return Response(figure, media_type="application/json")
    figure = figure.replace("<", "\\u003c")  # plotly does so too; a figure must never end its element
    if standalone:
        start = render("plot.html", title=name, figure=figure, sources=()).body
        headers = {"Content-Disposition": f'attachment; filename="{name}.html"'}
        return StreamingResponse(_pieces(bytes(start)), media_type="text/html", headers=headers)
    return render("plot.html", title=name, figure=figure, sources=[f"/assets/{script}" for script in SCRIPTS])


def picture(png: bytes, name: str) -> Response:
    """Answer with a picture; `name`: its file name."""
    return Response(png, media_type="image/png", headers={"Content-Disposition": f'inline; filename="{name}.png"'})


def _pieces(start: bytes) -> Iterator[bytes]:
    """Yield a page and its scripts, a piece at a time: a slow reader holds no more of them in memory."""
    yield start
    for path in SCRIPTS.values():
        yield b"<script>"
        with path.open("rb") as script:
            while piece := script.read(PIECE_BYTES):
                yield piece
        yield b"</script>\n"
    yield b"</html>\n"
