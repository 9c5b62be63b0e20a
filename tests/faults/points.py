"""The places between a commit and what follows it: a service that is killed there has done one half.

The list is the whole of it: `test_points.py` shows that a service comes to each one and dies there. A new step after a
commit gets a line here. A service looks at the file `trap` in its home whenever it comes to such a place; the place
that the file names is the last thing it does.
"""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.service.api import studies
from luthier.service.dispatch import baseline_files, checkpoints
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.reaper import Reaper
from luthier.service.dispatch.reports import Reports
from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.storage.assignment_logs import AssignmentLogs
from luthier.service.storage.file_store import FileStore
from luthier.studies.search.search import Search


@dataclass(frozen=True)
class Point:
    """A place in the service's code.

    Attributes:
        name: what is done by then, and what is not.
        owner: the class or module that has the function.
        function: its name.
        after: the service dies once the function has returned a true value, or anything if `any_value`; else before it
            is called.
        any_value: None counts too.
        act: what a user asks for that leads there: create, cancel; "" where every study comes there.
    """

    name: str
    owner: Any
    function: str
    after: bool = False
    any_value: bool = False
    act: str = ""


POINTS = (
    Point("study stored, user not answered", studies, "_find_or_create", after=True, act="create"),
    Point("turn taken, Optuna not asked", Search, "ask"),
    Point("Optuna has drawn, no row of ours", Search, "ask", after=True),
    Point("trial granted, worker not answered", Claims, "claim", after=True),
    Point("evaluation stored, its log not written", AssignmentLogs, "append"),
    Point("evaluation stored, old checkpoints not removed", FileStore, "drop"),
    Point("evaluation stored, Optuna not told", SearchPool, "report"),
    Point("Optuna told of an evaluation, worker not answered", Reports, "report", after=True),
    Point("end stored, Optuna not told", SearchPool, "tell"),
    Point("Optuna told of an end, files not removed", checkpoints, "remove_unnamed"),
    Point("winner measured, the baseline's files not removed", baseline_files, "remove"),
    Point("end stored, worker not answered", Reports, "finish", after=True, any_value=True),
    Point("study ended, its search not closed", SearchPool, "close_study"),
    Point("study cancelled, Optuna not told", studies, "clean_up", act="cancel"),
    Point("leases moved, studies not mended", Reaper, "_mend"),
)
TRAP = "trap"


def set_trap(home: Path, point: Point) -> None:
    """Let a service of this home die at a place; the first one that comes there does."""
    part = home / f".{TRAP}.part"
    part.write_text(point.name)
    part.replace(home / TRAP)


def disarm(home: Path) -> None:
    """Take the trap away, if nobody has stepped into it."""
    (home / TRAP).unlink(missing_ok=True)


def install(home: Path) -> None:
    """Make this process, a service, look for the trap at every place."""
    trap = home / TRAP
    for point in POINTS:
        setattr(point.owner, point.function, _watched(getattr(point.owner, point.function), point, trap))


def _watched(real: Callable[..., Any], point: Point, trap: Path) -> Callable[..., Any]:
    @functools.wraps(real)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            _die_if_asked(point, trap)
        value = real(*args, **kwargs)
        if point.after and (value or point.any_value):
            _die_if_asked(point, trap)
        return value

    return watched


def _die_if_asked(point: Point, trap: Path) -> None:
    try:
        if trap.read_text() != point.name:
            return
        trap.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
