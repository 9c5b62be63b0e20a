"""HTML pages from the templates beside this file; every value is escaped.

The routes for people (the login, the schedules, the plots, /docs) call `render`. Nothing else writes HTML: the
dashboard is its library's page. What a page may load is said in `security_headers.py`.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a page that runs no script, unless its route allows some.

    Args:
        template: a file name in `templates/`.
        status: the HTTP status.
        values: the names that the template uses; a name that it lacks is an error.
    """
    return HTMLResponse(_environment.get_template(template).render(values), status)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _utc(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {"score": _score, "utc": _utc}
