"""The FastAPI factory: builds a service from its settings; nothing here is global.

`serve`, `Embedded` and tests call `create_app`; tests and tools that need no HTTP call `build_core`.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp

from luthier import __version__
from luthier.service import errors
from luthier.service.api import (
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
    worker,
)
from luthier.service.api import onnx as onnx_routes
from luthier.service.api import predictions as prediction_routes
from luthier.service.api.body_limit import BodyLimit
from luthier.service.api.context import Service
from luthier.service.api.event_feed import Feed
from luthier.service.api.hang_ups import HangUps
from luthier.service.api.notifier import Notifier
from luthier.service.api.security_headers import HeadAsGet, SecurityHeaders
from luthier.service.api.views import study_view
from luthier.service.api.waiting_line import WaitingLine
from luthier.service.background import Every
from luthier.service.dispatch import onnx_files, predictions
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.orphans import Orphans
from luthier.service.dispatch.reaper import Reaper
from luthier.service.dispatch.reports import Reports
from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.schedules import champions
from luthier.service.schedules.scheduler import Scheduler
from luthier.service.schedules.webhook import Webhook
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
    *(studies, bundles, study_changes, schedules, datasets, worker, operations, fleet),
)
SUMMARY = "Hyperparameter search for fine-tuning."
THREADS = 40  # requests worked on at the same time; the rest wait on the event loop


@dataclass(frozen=True)
class Tokens:
    """The tokens that callers must present; None where no token is set.

    Attributes:
        user: for users and programs.
        worker: for workers that others start.
        fleet: for the workers that this service starts itself; random, made at the start.
    """

    user: str | None
    worker: str | None
    fleet: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def of(cls, settings: Settings) -> "Tokens":
        """Return the tokens of `settings`, with a new one for the fleet."""
        user, worker = settings.token, settings.worker_token
        return cls(user.get_secret_value() if user else None, worker.get_secret_value() if worker else None)

    def guard(self) -> auth.Guard:
        """Return the guard that asks for these tokens; workers need a token if a user's or a worker's token is set."""
        accepted = [self.fleet, *([self.worker] if self.worker else [])] if self.user or self.worker else []
        return auth.Guard(self.user, accepted)


class _Application(FastAPI):
    """FastAPI with three layers around everything, so that they also hold for what its handlers of errors answer."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(HangUps(HeadAsGet(super().build_middleware_stack())))


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
    room = DiskRoom(store.root, database)
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
    feed = Feed(core, notifier, ChangeLog(core.database), timings.event_look_seconds, timings.event_stream_seconds)
    service = Service(settings, core, claims, Reports(core), scheduler, notifier, line, feed)
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
    guard = tokens.guard()
    app.add_middleware(BodyLimit, table_bytes=settings.predict_bytes)
    auth.install(app, guard)
    login.install(app, guard)
    docs_page.install(app)
    icon.install(app)
    static_files.install(app)
    for module in ROUTES:
        app.include_router(module.router, dependencies=[Depends(query_parameters.check_query)])
    site.install(app)
    dashboard.install(app, core.database)
    return app


def _lifespan(service: Service, timings: Timings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan of the application: background threads run in it, and the database is closed at its end.

    Whatever looks at the database is asked to end, and waited for, before the connections are closed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        threads = _threads(service, timings)
        for thread in threads:
            thread.start()
        yield
        until = time.monotonic() + timings.thread_stop_seconds
        service.notifier.close()
        for thread in threads:
            thread.stop()
        for ended in (service.line.ended, service.feed.ended):
            await ended(max(until - time.monotonic(), 0.0))
        free = anyio.CapacityLimiter(1)  # requests that were cut off may still hold all usual threads
        for close in (*(thread.join for thread in threads), app.state.dashboard.close, service.core.close):
            await anyio.to_thread.run_sync(close, max(until - time.monotonic(), 0.0), limiter=free)

    return lifespan


def _threads(service: Service, timings: Timings) -> list[Every]:
    """Return the background threads, not started; an embedded service does one study's work, so it has no schedules."""
    lease_seconds = service.settings.lease_seconds
    threads = [Every("reaper", timings.reaper_interval(lease_seconds), Reaper(service.core).guarded_tick())]
    threads.append(Every("orphans", timings.orphans_seconds, Orphans(service.core).sweep))
    threads.append(Every("changes", timings.orphans_seconds, service.feed.log.prune))
    if service.core.only is None:
        threads.append(Every("scheduler", timings.scheduler_seconds, service.scheduler.tick))
        threads.append(Every("webhook", timings.scheduler_seconds, service.scheduler.deliver))
    return threads
