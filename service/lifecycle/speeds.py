"""Speeds: a worker that is far slower than others on the same device goes into quarantine.

Only like is compared with like: trials of the same study whose configurations take the same work for an example, on
devices of the same name and with as many workers on each GPU; workers on the CPU only with those of their own machine.
Neighbours and caches make speeds differ by much, so the bar is far below, and every number has a minimum. The reaper
looks once a minute.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import quarantine
from luthier.service.storage.presence import Presence, host_of
from luthier.service.storage.service_tables import HealthRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.gpus import CPU
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.trial_work import INDIFFERENT

SLOWEST = 1 / 3  # of the speed of its peers, divided by the workers on a GPU: a peer may have had one for itself
OWN_TRIALS = 5  # of the worker, at least, each with peers; 1 where it was in quarantine for its speed within a day
PEER_WORKERS = 2  # other workers that did such trials, at least
PEER_TRIALS = 3  # such trials of theirs, for each class of configurations
RECENT_SECONDS = 86_400.0  # older trials do not count
LATEST = 1_000  # assignments that are looked at


@dataclass(frozen=True)
class Speed:
    """The speed of one trial.

    Attributes:
        worker: who trained it.
        alike: what a trial must have in common to be compared: study, configuration, device.
        value: examples per second.
    """

    worker: str
    alike: tuple[Any, ...]
    value: float


def find_slow(speeds: Iterable[Speed], sharing: Mapping[str, int], suspects: frozenset[str]) -> dict[str, str]:
    """Return the workers that are far slower than their peers, each with the numbers, as a sentence.

    Args:
        speeds: of trials, in any order.
        sharing: worker -> how many workers compute on its device.
        suspects: workers that were in quarantine for their speed of late: fewer trials of theirs suffice.
    """
    classes: dict[tuple[Any, ...], list[Speed]] = {}
    for speed in speeds:
        classes.setdefault(speed.alike, []).append(speed)
    ratios: dict[str, list[float]] = {}
    numbers: dict[str, list[tuple[float, float]]] = {}  # own speed, the peers' median
    for members in classes.values():
        for worker in {member.worker for member in members}:
            peers = [member for member in members if member.worker != worker]
            if len({peer.worker for peer in peers}) < PEER_WORKERS or len(peers) < PEER_TRIALS:
                continue
            usual = median(peer.value for peer in peers)
            values = [member.value for member in members if member.worker == worker]
            if usual > 0:
                ratios.setdefault(worker, []).extend(value / usual for value in values)
                numbers.setdefault(worker, []).extend((value, usual) for value in values)
    slow = {}
    for worker, found in sorted(ratios.items()):
        enough = len(found) >= (1 if worker in suspects else OWN_TRIALS)
        if enough and median(found) < SLOWEST / max(1, sharing.get(worker, 1)):
            own = median(value for value, _ in numbers[worker])
            usual = median(value for _, value in numbers[worker])
            slow[worker] = (
                f"It is far slower than other workers on the same device: in {len(found)} "
                f"trial{'' if len(found) == 1 else 's'} {own:.3g} examples per second where theirs had {usual:.3g}, "
                f"{100 * median(found):.0f} % of their speed."
            )
    return slow


def look(session: Session, presence: Presence) -> list[str]:
    """Put workers that are far slower than their peers into quarantine, and return their names.

    Nobody goes there for its speed unless a peer that is not in quarantine is connected.
    """
    quarantine.forget_old(session, presence.database)
    able = {worker.name: worker for worker in presence.able(session)}
    if len(able) <= PEER_WORKERS:
        return []
    now = presence.database.time(session)
    ended = {
        health.worker: health.changed_at
        for health in session.scalars(select(HealthRow).where(HealthRow.is_slow))
        if 0 <= now - health.changed_at < quarantine.MEMORY_SECONDS
    }
    speeds = _speeds(session, able, now, ended)
    slow = find_slow(speeds, _sharing(able.values()), frozenset(ended))
    put = []
    for name, health in quarantine.lock_all(session, presence.database, slow).items() if slow else ():
        if health.quarantined_at is None:
            quarantine.put(health, slow[name], now, is_slow=True)
            put.append(name)
    return put


def _speeds(session: Session, able: Mapping[str, WorkerRow], now: float, ended: Mapping[str, float]) -> list[Speed]:
    """Return the speeds of the recent trials of workers that are there; of a suspect those since its quarantine."""
    rows = select(
        AssignmentRow.worker,
        AssignmentRow.study_id,
        AssignmentRow.params,
        AssignmentRow.examples_per_second,
        AssignmentRow.finished_at,
    ).where(
        AssignmentRow.id > select(func.coalesce(func.max(AssignmentRow.id), 0) - LATEST).scalar_subquery(),
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
        AssignmentRow.attempt == 1,
        AssignmentRow.taken_from.is_(None),
        AssignmentRow.finished_at > now - RECENT_SECONDS,
        AssignmentRow.worker.in_(able),
    )
    speeds, sharing = [], _sharing(able.values())
    for name, study_id, params, value, finished_at in session.execute(rows):
        if value is None or finished_at <= ended.get(name, 0.0) or not isinstance(params, dict):
            continue
        worker = able[name]
        place = (host_of(name, worker.host),) if worker.device == CPU else (worker.device, sharing[name])
        work = sorted((key, repr(choice)) for key, choice in params.items() if key not in INDIFFERENT)
        speeds.append(Speed(name, (study_id, *place, *work), value))
    return speeds


def _sharing(workers: Iterable[WorkerRow]) -> dict[str, int]:
    """Return how many workers compute on each worker's GPU; 1 for one without."""
    workers = list(workers)
    count: dict[str | None, int] = {}
    for worker in workers:
        count[worker.gpu] = count.get(worker.gpu, 0) + 1
    return {worker.name: 1 if worker.gpu is None else count[worker.gpu] for worker in workers}
