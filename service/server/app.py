"""The FastAPI factory: settings in, a service out. Nothing here is global."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio.to_thread
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from luthier import __version__
from luthier.service import errors
from luthier.service.api import auth, dashboard, error_handlers, operations, plan, schedules, studies, trials, worker
from luthier.service.api import schedule_pages as pages
from luthier.service.api.context import Service
from luthier.service.api.notifier import Notifier
from luthier.service.background import Every
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.reaper import Reaper
from luthier.service.dispatch.reports import Reports
from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.schedules import champions
from luthier.service.schedules.scheduler import Scheduler
from luthier.service.schedules.webhook import Webhook
from luthier.service.settings import Settings
from luthier.service.storage.database import Database
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases
from luthier.studies.protocol import AssignmentKind

SUMMARY = "Hyperparameter search for fine-tuning."
SCHEDULER_SECONDS = 1.0  # between looks at what is due
THREADS = 40  # requests worked on at the same time; the rest wait on the event loop


@dataclass(frozen=True)
class Tokens:
    """What callers must present. `fleet` is made up at the start, for the workers that this service starts itself."""

    user: str | None
    worker: str | None
    fleet: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def of(cls, settings: Settings) -> "Tokens":
        user, worker = settings.token, settings.worker_token
        return cls(user.get_secret_value() if user else None, worker.get_secret_value() if worker else None)

    def guard(self) -> auth.Guard:
        """Workers are asked for a token as soon as either kind is set."""
        wanted = [self.fleet, *([self.worker] if self.worker else [])] if self.user or self.worker else []
        return auth.Guard(self.user, wanted)


def build_core(settings: Settings, only: str | None = None) -> Core:
    """The service without its HTTP side. Makes or migrates the database and the store."""
    database = Database(settings.sqlalchemy_url)
    try:
        database.wait(settings.database_wait_seconds)
        database.prepare()
    except (DBAPIError, OSError) as error:
        shown = make_url(database.url).render_as_string(hide_password=True)
        why = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise errors.RefusedToStart(f"The database {shown} cannot be used: {why}") from None
    leases = Leases(database, settings.lease_seconds, settings.max_losses)
    return Core(database, leases, SearchPool(database), FileStore(settings.home / "store"), only)


def create_app(settings: Settings, tokens: Tokens | None = None, only: str | None = None) -> FastAPI:
    """A service on `settings`' database. `only`: hand out this study's work alone."""
    tokens = tokens or Tokens.of(settings)
    core = build_core(settings, only)
    parts = (core.database, core.leases, core.searches, core.store, core.only)
    dispatch = Claims(*parts, payloads={AssignmentKind.COMPARE: champions.comparison_files})
    reports = Reports(*parts)
    scheduler = Scheduler(core, dispatch, reports, Webhook.of(settings))
    service = Service(settings, core, dispatch, reports, scheduler, Notifier())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        threads = [Every("reaper", min(1.0, settings.lease_seconds / 3), Reaper(*parts).ticks(settings.lease_seconds))]
        if only is None:  # an embedded service does one study's work
            threads.append(Every("scheduler", SCHEDULER_SECONDS, service.scheduler.tick))
            threads.append(Every("webhook", SCHEDULER_SECONDS, service.scheduler.deliver))
        for thread in threads:
            thread.start()
        yield
        service.notifier.close()
        for thread in threads:
            thread.stop()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join, 10)
        await anyio.to_thread.run_sync(core.searches.close)
        core.database.dispose()

    app = FastAPI(title="Luthier", version=__version__, summary=SUMMARY, lifespan=lifespan)
    app.state.service = service
    error_handlers.install(app)
    auth.install(app, tokens.guard())
    for module in (plan, trials, studies, schedules, worker, operations, pages):
        app.include_router(module.router, max_body_size=auth.MAX_BODY_BYTES)

    @app.get("/", include_in_schema=False)
    def _home() -> RedirectResponse:
        return RedirectResponse("/dashboard")

    dashboard.install(app, core.database)
    return app
