"""The routes of optuna-dashboard, read only, behind the service's own access control.

Its paths are absolute and can't be prefixed, so exactly those are routed to its WSGI app; its write routes are open to
anyone, so only GET and HEAD pass. It is built on the first request: importing it takes seconds. Its page is sent with a
style of ours, which hides what would write, and a way back; it is told the names of metrics, and stores none. It knows
nothing of projects: it is shown the studies of the caller's, and asked about no other.
"""

import importlib.util
import json
import logging
import re
import threading
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from sqlalchemy import Text, select, type_coerce
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.service.api.static_files import SITE
from luthier.service.caller import current
from luthier.service.errors import NotFound, ReadOnly, Unavailable
from luthier.service.lifecycle import study_rows
from luthier.service.storage.connections import Connections
from luthier.service.storage.database import Database
from luthier.service.storage.tables import StudyRow, named_in_search, search_name
from luthier.studies.search.storage import STORAGE_ERRORS, Storage, engine_of, open_storage

log = logging.getLogger("luthier")
PREFIXES = ("dashboard", "static", "csv", "artifacts", "incompatible-rdb-schema")
METRIC_NAMES = "study:metric_names"  # the attribute of a study that names its objectives, in Optuna and its dashboard
OF_STUDY = re.compile(r"/(?:api/studies|csv|artifacts|api/artifacts)/+([^/]+)")
OPTUNA_ID = re.compile(r"[0-9]{1,9}")
API = ("meta", "studies", "trials", "artifacts")


class Dashboard:
    """An ASGI application that hands GET and HEAD requests to optuna-dashboard; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        """Take the database whose Optuna tables it shows; nothing is imported yet."""
        self._database = database
        self._app: ASGIApp | None = None
        self._connections: Connections | None = None
        self._lock = threading.Lock()

    def _build(self) -> ASGIApp:
        with self._lock:
            if self._app is None:
                from optuna_dashboard import wsgi

                storage = open_storage(self._database.url)
                self._connections = Connections(engine_of(storage))
                storage = _naming_metrics(storage, self._database)
                self._app = cast(ASGIApp, WSGIMiddleware(wsgi(_answering_503(storage))))
            return self._app

    def close(self, wait_seconds: float) -> None:
        """Close the connections to the database, as `Database.dispose` does."""
        if self._connections is not None:
            self._connections.close(wait_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; 405 for any that could change something."""
        if scope["method"] not in ("GET", "HEAD"):
            answer = ReadOnly("The dashboard only shows; studies are changed under /v1.").response()
            answer.headers["Allow"] = "GET, HEAD"
            await answer(scope, receive, send)
            return
        if scope["path"].startswith("/dashboard"):
            await HTMLResponse(await run_in_threadpool(_page))(scope, receive, send)
            return
        app = await run_in_threadpool(self._build)
        if not await run_in_threadpool(self._may_see, scope["path"]):
            await NotFound("There is no such study in this project.").response()(scope, receive, send)
            return
        headers = list(scope["headers"])
        if not any(name == b"accept-encoding" for name, _ in headers):
            headers.append((b"accept-encoding", b"identity"))  # without one its /static answers 500

        unavailable = False

        async def guarded(message: Message) -> None:
            nonlocal unavailable
            if message["type"] == "http.response.start" and message["status"] == Unavailable.status:
                unavailable = True
            if not unavailable:
                await send(message)

        await app({**scope, "headers": headers}, receive, guarded)
        if unavailable:
            log.warning("the dashboard's storage did not answer")
            answer = Unavailable("The database does not answer; try again shortly.", retry_after=2).response()
            await answer(scope, receive, send)

    def _may_see(self, path: str) -> bool:
        """Return whether a path is of no study, or of one of the caller's project."""
        match = OF_STUDY.match(path)
        if match is None:
            return True
        try:
            with self._database.reading() as session:
                number = int(match[1]) if OPTUNA_ID.fullmatch(match[1]) else -1  # its routes take more kinds of digits
                return study_rows.name_in_optuna(session, number) is not None
        except SQLAlchemyError:  # it answers so itself
            return True


@cache
def _page() -> str:
    """Return the page of optuna-dashboard with our style and the way back; it is the same for each of its addresses."""
    spec = importlib.util.find_spec("optuna_dashboard")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    page = (Path(spec.submodule_search_locations[0]) / "index.html").read_text(encoding="utf-8")
    ours = f'<link rel="stylesheet" href="{SITE["dashboard.css"]}"><script defer src="{SITE["dashboard.js"]}"></script>'
    back = '<a id="luthier-back" href="/">Back to Luthier</a>'
    return page.replace("</head>", f"{ours}</head>").replace("</body>", f"{back}</body>")


def _naming_metrics(storage: Storage, database: Database) -> Storage:
    """Return the storage, which tells the studies of the caller's project, each with its objective's metric."""
    plain = storage.get_all_studies
    metrics: dict[str, str] = {}  # the name of a study's search -> its metric, which never changes

    def named() -> list[Any]:
        studies = plain()
        if any(study.study_name not in metrics for study in studies):
            metrics.update(_metrics(database))
        shown = []
        for study in studies:
            if study.study_name in metrics:
                study.system_attrs = {**study.system_attrs, METRIC_NAMES: [metrics[study.study_name]]}
            project, study.study_name = named_in_search(study.study_name)
            if project == current().project:
                shown.append(study)
        return shown

    vars(storage)["get_all_studies"] = named
    return storage


def _metrics(database: Database) -> dict[str, str]:
    """Return the metric of every study's objective by the name of its search; a damaged spec has none."""
    metrics = {}
    with database.reading() as session:
        for project, name, spec in session.execute(
            select(StudyRow.project, StudyRow.name, type_coerce(StudyRow.spec, Text))
        ):
            try:
                metrics[search_name(project, name)] = str(json.loads(spec)["objective"]["metric"])
            except (ValueError, KeyError, TypeError):
                continue
    return metrics


def _answering_503(storage: Storage) -> Storage:
    """Return the storage, whose errors optuna-dashboard answers with 503: any other one it logs with a traceback."""
    from bottle import HTTPError

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except STORAGE_ERRORS:
                raise HTTPError(Unavailable.status) from None

        return call

    names = (name for name in dir(Storage) if not name.startswith("_"))
    vars(storage).update({name: guarded(getattr(storage, name)) for name in names})
    return storage


def install(app: FastAPI, database: Database) -> None:
    """Add the dashboard's paths, and the dashboard as `app.state.dashboard`; call it after our own routes."""
    dashboard: Any = Dashboard(database)
    app.state.dashboard = dashboard
    for prefix in (*PREFIXES, *(f"api/{name}" for name in API)):
        app.router.routes.append(Route(f"/{prefix}", dashboard, include_in_schema=False))
        app.router.routes.append(Route(f"/{prefix}/{{path:path}}", dashboard, include_in_schema=False))
