"""The background threads of a running service; `create_app` starts and ends them with the application."""

from functools import partial

from luthier.service.access import upkeep
from luthier.service.api.context import Service
from luthier.service.background import Every
from luthier.service.dispatch.orphans import Orphans
from luthier.service.dispatch.reaper import Reaper
from luthier.service.server.timings import Timings


def background_threads(service: Service, timings: Timings) -> list[Every]:
    """Return the background threads, not started; an embedded service does one study's work, so it has no schedules."""
    lease_seconds, reaper = service.settings.lease_seconds, Reaper(service.core)
    interval = timings.reaper_interval(lease_seconds)
    threads = [Every("reaper", interval, reaper.guarded_tick())]
    threads.append(Every("ended", lease_seconds, reaper.mend_ended, first=interval))
    if service.core.judges_workers:
        threads.append(Every("speeds", timings.speeds_seconds, reaper.look_at_workers))
    threads.append(Every("orphans", timings.orphans_seconds, Orphans(service.core).sweep))
    threads.append(Every("changes", timings.orphans_seconds, service.feed.log.prune))
    threads.append(Every("workers", timings.orphans_seconds, service.core.presence.forget_workers))
    threads.append(Every("tokens", timings.token_use_seconds, service.tokens.store_uses))
    threads.append(Every("audit", timings.token_use_seconds, service.audit.write))
    old_entries = partial(upkeep.prune, service.core.database, service.audit, service.settings.audit_days)
    threads.append(Every("old-entries", timings.orphans_seconds, old_entries))
    if service.core.only is None:
        threads.append(Every("scheduler", timings.scheduler_seconds, service.scheduler.tick))
        threads.append(Every("webhook", timings.scheduler_seconds, service.scheduler.deliver))
    return threads
