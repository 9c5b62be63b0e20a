"""HTML pages from the templates beside this file; every value is escaped.

The routes for people (the login, the pages in `site/`, the plots, /docs) call `render`. Nothing else writes HTML: the
dashboard is its library's page. What a page may load is said in `security_headers.py`.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from luthier.service.api.static_files import SITE

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a page that runs no script, unless its route allows some.

    Args:
        template: a file name in `templates/`.
        status: the HTTP status.
        values: the names that the template uses; a name that it lacks is an error.
    """
    return HTMLResponse(_environment.get_template(template).render(values), status)


def link(path: str, query: Mapping[str, Any], **changes: Any) -> str:
    """Return an address with some values of its query replaced; None and "" leave one out."""
    values = {key: value for key, value in {**query, **changes}.items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(values, doseq=True)}" if values else path


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _gain(value: float) -> str:
    """Return a difference of two scores with its sign, which is a minus, not a hyphen."""
    return f"{value:+.4f}".replace("-", "\u2212")


def _utc(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def _instant(time: datetime | None) -> str:
    """Return an instant as an element that the page's script adds the local time to."""
    if time is None:
        return "-"
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(), _utc(time))


def duration(seconds: float | None) -> str:
    """Return a time for people: its two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    rest = round(seconds)
    told: list[str] = []
    for unit, word in UNITS:
        if rest >= unit:
            told.append(f"{rest // unit} {word}")
            rest %= unit
    return " ".join(told[:2])


def _size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return "-"


def _plain(value: Any) -> str:
    """Return a value of a spec or a configuration for people."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals |= {"assets": SITE, "link": link}
_environment.filters |= {
    "duration": duration,
    "gain": _gain,
    "instant": _instant,
    "plain": _plain,
    "score": _score,
    "size": _size,
    "utc": _utc,
}
