"""Routes of health (/healthz, /readyz), metrics (/metrics), the workers and the tasks (/v1)."""

from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from luthier.service.api import fleet_views, paging
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.openapi import TEXT
from luthier.service.api.request_project import Project
from luthier.service.errors import Invalid, NotFound, Unavailable, responses
from luthier.service.lifecycle import datasets
from luthier.service.schemas import Page, TaskView, WorkerView
from luthier.service.storage.believable import busy_seconds, gpu_seconds
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind
from luthier.studies.tasks import TASKS

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer as long as the process does, also while every thread is busy."""
    return {"status": "ok"}


@router.get("/readyz", responses=responses(Unavailable))
def ready(service: ServiceDep) -> dict[str, str]:
    """Answer as long as the database does; else 503. While nothing is handed out, `disk` is `full`, or `low`."""
    with service.core.database.reading() as session:
        session.execute(text("SELECT 1"))
    room = service.core.room
    return {"status": "ok"} | ({} if room.shortage() is None else {"disk": "low" if room.problem() is None else "full"})


@router.get("/v1/tasks", responses=responses(Invalid))
def tasks(cursor: paging.Cursor = None, limit: paging.AnyLimit = None, project: Project = None) -> Page[TaskView]:
    """List the kinds of fine-tuning, with every hyperparameter's default."""
    return paging.part(fleet_views.task_views(TASKS.values()), paging.decode(cursor), limit)


@router.get("/v1/workers", responses=responses(Invalid))
def workers(
    service: ServiceDep, cursor: paging.Cursor = None, limit: paging.AnyLimit = None, project: Project = None
) -> Page[WorkerView]:
    """List the workers of the last day."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        return paging.part(_workers(service, session), position, limit)


def worker_view(service: Service, session: Session, name: str) -> WorkerView:
    """Return one worker. Raises NotFound where none of this name was seen in the last day."""
    found = next((view for view in _workers(service, session) if view.name == name), None)
    if found is None:
        raise NotFound(f"There is no worker {name}; `luthier fleet` lists those of the last day.")
    return found


def _workers(service: Service, session: Session) -> list[WorkerView]:
    now = service.core.database.time(session)
    return fleet_views.worker_views(session, now, service.core.presence.away_seconds)


@router.get("/metrics", response_class=Response, responses=TEXT)
def metrics(service: ServiceDep) -> Response:
    """Return counts in Prometheus' text format; they come from the rows, so all services of one database agree."""
    registry = CollectorRegistry()
    registry.register(_Rows(service))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def _uploads(session: Session) -> list[Metric]:
    """Return the metrics of the uploaded data sets."""
    number, size = datasets.totals(session)
    count = GaugeMetricFamily("luthier_datasets", "Uploaded data sets.", value=number)
    return [count, GaugeMetricFamily("luthier_dataset_bytes", "Bytes of their files in the store.", value=size)]


class _Rows(Collector):
    """The metrics, read from the database at each scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        studies = GaugeMetricFamily("luthier_studies", "Studies by state.", labels=["state"])
        trials = GaugeMetricFamily("luthier_trials", "Trials by state and reason.", labels=["state", "reason"])
        workers = GaugeMetricFamily("luthier_workers", "Workers by state.", labels=["state"])
        quarantines = GaugeMetricFamily(
            "luthier_worker_quarantine_until_seconds",
            "When a worker in quarantine gets its next probe, in seconds since the epoch.",
            labels=["worker"],
        )
        losses = CounterMetricFamily("luthier_lost_leases", "Leases that ended because a worker vanished.")
        busy = CounterMetricFamily("luthier_worker_busy_seconds", "Time workers spent on assignments.")
        gpu = CounterMetricFamily("luthier_gpu_seconds", "Busy seconds times the GPUs, or the share of one, reserved.")
        disk = GaugeMetricFamily("luthier_disk_full", "1 while a disk of this service is full: no work is handed out.")
        disk.add_metric([], self._service.core.room.problem() is not None)
        low = GaugeMetricFamily("luthier_disk_low", "1 while no work is handed out, as a disk has too little free.")
        low.add_metric([], self._service.core.room.shortage() is not None)
        free = GaugeMetricFamily("luthier_disk_free_bytes", "Free bytes of the disk.", labels=["disk"])
        reserve = GaugeMetricFamily("luthier_disk_reserve_bytes", "Bytes that are to stay free.", labels=["disk"])
        for name, free_bytes, reserve_bytes in self._service.core.room.free():
            free.add_metric([name], free_bytes)
            reserve.add_metric([name], reserve_bytes)
        orphaned = CounterMetricFamily(
            "luthier_orphaned_bytes", "Bytes of files that no row named, removed by this service since its start."
        )
        orphaned.add_metric([], self._service.core.store.orphaned_bytes)
        with self._service.core.database.reading() as session:
            by_state = select(StudyRow.state, func.count()).where(~StudyRow.transient).group_by(StudyRow.state)
            for state, count in session.execute(by_state):
                studies.add_metric([state], count)
            by_reason = (
                select(AssignmentRow.state, AssignmentRow.reason, func.count())
                .where(AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted)
                .group_by(AssignmentRow.state, AssignmentRow.reason)
            )
            for state, reason, count in session.execute(by_reason):
                trials.add_metric([state, reason or ""], count)
            sums = select(func.sum(AssignmentRow.losses), func.sum(busy_seconds()), func.sum(gpu_seconds()))
            lost, seconds, used = session.execute(sums).one()
            losses.add_metric([], lost or 0)
            busy.add_metric([], seconds or 0.0)
            gpu.add_metric([], used or 0.0)
            fleet = _workers(self._service, session)
            states = [worker.state for worker in fleet]
            for sick in fleet:
                if sick.quarantine is not None:
                    quarantines.add_metric([sick.name], sick.quarantine.until.timestamp())
            for state in sorted(set(states)):
                workers.add_metric([state], states.count(state))
            uploads = _uploads(session)
        disks = [disk, low, free, reserve, orphaned]
        return [studies, trials, workers, quarantines, losses, busy, gpu, *disks, *uploads]
