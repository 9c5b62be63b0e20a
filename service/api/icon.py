"""The icon of the pages, which browsers ask for before they have any token."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

ICON = (Path(__file__).parent / "templates" / "favicon.svg").read_bytes()
KEPT = {"Cache-Control": "public, max-age=86400"}  # a day


def install(app: FastAPI) -> None:
    """Add the icon to `app`, also under the name that browsers guess; call it before the dashboard, which has one."""

    @app.get("/favicon.ico", include_in_schema=False)
    @app.get("/favicon.svg", include_in_schema=False)
    def _icon() -> Response:
        return Response(ICON, media_type="image/svg+xml", headers=KEPT)
