"""The FastAPI factory: builds a service from its settings; nothing here is global.

`serve`, `Embedded` and tests call `create_app`; tests and tools that need no HTTP call `build_core`.
"""

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp

from luthier import __version__
from luthier.service import errors
from luthier.service.access import upkeep
from luthier.service.access.audit import AuditLog
from luthier.service.access.known_tokens import KnownTokens
from luthier.service.api import (
    audit,
    auth,
    bundles,
    dashboard,
    datasets,
    docs_page,
    error_handlers,
    events,
    extension,
    external,
    fleet,
    icon,
    login,
    openapi,
    operations,
    plan,
    plots,
    projects,
    query_parameters,
    report,
    results,
    schedules,
    site,
    static_files,
    studies,
    study_changes,
    trial_verbs,
    trials,
    usage,
    worker,
)
from luthier.service.api import onnx as onnx_routes
from luthier.service.api import predictions as prediction_routes
from luthier.service.api import tokens as token_routes
from luthier.service.api.body_limit import BodyLimit
from luthier.service.api.callers import Callers, Tokens
from luthier.service.api.context import Service
from luthier.service.api.event_feed import Feed
from luthier.service.api.hang_ups import HangUps
from luthier.service.api.notifier import Notifier
from luthier.service.api.proxy_login import ProxyLogin, SocketPeer
from luthier.service.api.rate_limit import RateLimit, WrongTokens
from luthier.service.api.security_headers import HeadAsGet, SecurityHeaders
from luthier.service.api.site.page import problem_page
from luthier.service.api.views import study_view
from luthier.service.api.waiting_line import WaitingLine
from luthier.service.dispatch import onnx_files, predictions
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.reports import Reports
from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.schedules import champions
from luthier.service.schedules.scheduler import Scheduler
from luthier.service.schedules.webhook import Webhook
from luthier.service.server.threads import background_threads
from luthier.service.server.timings import DEFAULT, Timings
from luthier.service.settings import Settings
from luthier.service.storage.assignment_logs import AssignmentLogs
from luthier.service.storage.change_log import ChangeLog
from luthier.service.storage.database import Database
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.disk_room import DiskRoom
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases
from luthier.service.storage.presence import Presence
from luthier.studies.protocol import AssignmentKind

# In this order: a path is looked up among the routes of each, and /v1/studies/{name}/{action} takes what is left.
ROUTES = (
    *(plan, plots, events, trials, trial_verbs, external, extension, prediction_routes, onnx_routes, results, report),
    *(studies, bundles, study_changes, schedules, datasets, projects, token_routes, audit, usage, worker),
    *(operations, fleet),
)
__all__ = ["Tokens", "build_core", "create_app"]
SUMMARY = "Hyperparameter search for fine-tuning."
THREADS = 40  # requests worked on at the same time; the rest wait on the event loop


def _trusted_proxies() -> str:
    """Return the addresses of proxies whose X-Forwarded-For and -Proto count, as uvicorn does."""
    return os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")


class _Application(FastAPI):
    """FastAPI with three layers around everything, so that they also hold for what its handlers of errors answer."""

    def build_middleware_stack(self) -> ASGIApp:
        return SocketPeer(SecurityHeaders(HangUps(HeadAsGet(super().build_middleware_stack()))), _trusted_proxies())


def build_core(settings: Settings, only: str | None = None) -> Core:
    """Build the service without its HTTP side; create or migrate the database, and create the store.

    Args:
        settings: where the database and the store are.
        only: the one study whose work is handed out; None for all.

    Raises:
        RefusedToStart: the database or the store cannot be used.
        NewerSchema: a newer Luthier wrote the database.
    """
    database = Database(settings.sqlalchemy_url)
    database.tells_ends = settings.webhook_url is not None and only is None
    with ExitStack() as if_refused:
        if_refused.callback(database.dispose)
        _prepare(database, settings.database_wait_seconds)
        store = _open_store(settings.store_folder)
        leases = Leases(database, settings.lease_seconds, settings.max_losses)
        presence = Presence(database, settings.lease_seconds)
        searches = SearchPool(database, presence)
        if_refused.pop_all()
    room = DiskRoom(store.root, database, settings.disk_reserve)
    logs = AssignmentLogs(store, room)
    return Core(database, leases, presence, searches, store, room, logs, only, settings.quarantine)


def _prepare(database: Database, wait_seconds: float) -> None:
    """Create or migrate the database once it answers. Raises RefusedToStart, NewerSchema."""
    try:
        database.wait(wait_seconds)
        database.prepare()
    except (DBAPIError, OSError) as error:
        url = make_url(database.url).render_as_string(hide_password=True)
        why = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise errors.RefusedToStart(f"The database {url} cannot be used: {why}") from None


def _open_store(folder: Path) -> FileStore:
    """Return the store in a folder, without what unfinished uploads have left. Raises RefusedToStart."""
    try:
        store = FileStore(folder)
        DatasetStore(store.root).sweep()
    except OSError as error:
        text = f"The store {folder} cannot be used: {error.strerror}. Mend that, or set LUTHIER_STORE."
        raise errors.RefusedToStart(text) from None
    return store


def create_app(
    settings: Settings, tokens: Tokens | None = None, only: str | None = None, timings: Timings = DEFAULT
) -> FastAPI:
    """Build a service on the database that `settings` name; its threads run while the application does.

    Args:
        settings: the addresses of database and store, and the choices of users.
        tokens: the tokens that callers must present; None takes those of `settings`.
        only: the one study whose work is handed out (an embedded service); None for all.
        timings: intervals and deadlines.

    Raises:
        RefusedToStart: the database or the store cannot be used.
        NewerSchema: a newer Luthier wrote the database.
    """
    tokens = tokens or Tokens.of(settings)
    core = build_core(settings, only)
    payloads = {
        AssignmentKind.COMPARE: champions.comparison_files,
        AssignmentKind.PREDICT: predictions.files,
        AssignmentKind.ONNX: onnx_files.files,
    }
    claims = Claims(core, payloads)
    scheduler = Scheduler(core, Webhook.of(settings, study_view))
    notifier = Notifier()
    line = WaitingLine(claims, notifier)
    most_streams = settings.max_streams, settings.max_streams_per_client
    looks = timings.event_look_seconds, timings.event_stream_seconds
    feed = Feed(core, notifier, ChangeLog(core.database), *looks, *most_streams)
    known = KnownTokens(core.database, timings.token_seconds)
    log = AuditLog(core.database)
    service = Service(settings, core, claims, Reports(core), scheduler, notifier, line, feed, known, log)
    app = _Application(
        title="Luthier",
        version=__version__,
        summary=SUMMARY,
        lifespan=_lifespan(service, timings),
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    error_handlers.install(app)
    openapi.install(app)
    guard = auth.Guard(Callers(tokens, service.tokens, ProxyLogin.of(settings)))
    app.add_middleware(BodyLimit, table_bytes=settings.predict_bytes)
    app.add_middleware(RateLimit, per_second=settings.requests_per_second)
    auth.install(app, guard, service.audit, problem_page)
    app.add_middleware(WrongTokens)
    login.install(app, guard)
    docs_page.install(app)
    icon.install(app)
    static_files.install(app)
    for module in ROUTES:
        app.include_router(module.router, dependencies=[Depends(_query_check(module))])
    site.install(app)
    dashboard.install(app, core.database)
    return app


def _query_check(module: ModuleType) -> Callable[..., Awaitable[None]]:
    """Return the check of query parameters for the routes of a module: most of them take `?project=`."""
    plain = module in (worker, operations, audit)
    return query_parameters.check_query if plain else query_parameters.check_query_in_project


def _lifespan(service: Service, timings: Timings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan of the application: background threads run in it, and the database is closed at its end.

    Whatever looks at the database is asked to end, and waited for, before the connections are closed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        threads = background_threads(service, timings)
        for thread in threads:
            thread.start()
        yield
        until = time.monotonic() + timings.thread_stop_seconds
        rest = threading.Thread(
            target=upkeep.store_rest, args=(service.audit, service.tokens), daemon=True
        )  # the database may be away
        rest.start()
        service.notifier.close()
        for thread in threads:
            thread.stop()
        for ended in (service.line.ended, service.feed.ended):
            await ended(max(until - time.monotonic(), 0.0))
        free = anyio.CapacityLimiter(1)  # requests that were cut off may still hold all usual threads
        for close in (*(thread.join for thread in (*threads, rest)), app.state.dashboard.close, service.core.close):
            await anyio.to_thread.run_sync(close, max(until - time.monotonic(), 0.0), limiter=free)

    return lifespan
