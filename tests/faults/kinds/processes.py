"""Processes are killed, or stand still for longer than a lease."""

import os
import signal
import time

from tests.faults import points
from tests.faults.arena import PATIENCE_SECONDS, Arena
from tests.faults.kinds.registry import ALL_WORKERS, PROGRAMS, fault
from tests.faults.service import LEASE_SECONDS
from tests.support.waiting import gone, until


@fault("a worker is killed", workers=ALL_WORKERS)
def kill_worker(arena: Arena) -> None:
    """One that holds a trial, where its machine is lost."""
    held = {row.worker for row in arena.running()}
    busy = [worker for worker in arena.workers if worker.name in held] or arena.workers
    worker = arena.chance.choice(busy)
    worker.kill()
    arena.dismiss(worker)


@fault("a worker is asked to end", workers=PROGRAMS)
def end_worker(arena: Arena) -> None:
    """It gives its trial back."""
    worker = arena.chance.choice(arena.workers)
    worker.kill(signal.SIGTERM)
    arena.dismiss(worker)


@fault("a child is killed", workers=PROGRAMS)
def kill_child(arena: Arena) -> None:
    """Its worker gives the trial back, and starts another child."""
    children = [pid for worker in arena.workers for pid in worker.children()]
    if children:
        pid = arena.chance.choice(children)
        os.kill(pid, signal.SIGKILL)
        gone(pid)


@fault("a service is killed", workers=ALL_WORKERS)
def kill_service(arena: Arena) -> None:
    """At any moment; it is started again."""
    with arena.disturbed():
        time.sleep(arena.chance.uniform(0, 0.2))
        service = arena.chance.choice(arena.services)
        service.kill()
        service.start()
        arena.answered()


@fault("a service is asked to end")
def end_service(arena: Arena) -> None:
    """As before an update."""
    with arena.disturbed():
        service = arena.chance.choice(arena.services)
        service.kill(signal.SIGTERM)
        service.start()
        arena.answered()


def kill_at(arena: Arena, point: points.Point) -> None:
    """Have a service killed where it comes to a point, and start it again."""
    with arena.disturbed():
        deaths = arena.deaths()
        points.set_trap(arena.home, point)
        if point.act == "create":
            arena.create()  # the user sends it again
        elif point.act == "cancel":
            arena.cancel()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (arena.home / points.TRAP).exists():
            arena.busy()
            assert time.monotonic() < deadline, f"no service came to: {point.name}"
            time.sleep(0.02)
        until(lambda: arena.deaths() > deaths, PATIENCE_SECONDS, 0.01)
        arena.answered()
        if point.act == "cancel":
            arena.told_of_ends(arena.cancelled)


def _fault_at(point: points.Point) -> None:
    @fault(f"killed: {point.name}")
    def kill(arena: Arena) -> None:
        kill_at(arena, point)


for _point in points.POINTS:
    _fault_at(_point)


@fault("a worker stands still for longer than a lease", workers=("scripted", "parents"))
def suspend_worker(arena: Arena) -> None:
    """It goes on with work that another has by then."""
    held = {row.worker for row in arena.running()}
    worker = arena.chance.choice([worker for worker in arena.workers if worker.name in held] or arena.workers)
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + arena.chance.uniform(0.5, 1.5))
    os.kill(worker.pid, signal.SIGCONT)


@fault("a service stands still for longer than a lease")
def suspend_service(arena: Arena) -> None:
    """Nobody can renew meanwhile, and nobody loses anything by it."""
    with arena.disturbed():
        service = arena.chance.choice(arena.services)
        service.notify(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + arena.chance.uniform(0.5, 1.5))
        service.notify(signal.SIGCONT)
        arena.answered()
