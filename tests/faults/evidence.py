"""What is left after a round: rows, Optuna's trials, changes of states, journals, logs; all read, none judged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from luthier.service.dispatch.orphans import Orphans
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from tests.faults.databases import EDGES, RoundDatabase
from tests.faults.journal import Entry, read
from tests.faults.service import LEASE_SECONDS, SWEEP_SECONDS
from tests.support.harness import optuna_trials

ASSIGNMENTS = "SELECT * FROM luthier_assignment ORDER BY id"
STUDIES = "SELECT * FROM luthier_study ORDER BY id"
REPORTS = "SELECT assignment_id, step, metrics FROM luthier_report ORDER BY assignment_id, step"


@dataclass(frozen=True)
class Trial:
    """A trial as Optuna has it."""

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    values: dict[int, float]


@dataclass
class Evidence:
    """What a round has left.

    Attributes:
        studies, assignments: our rows, all columns.
        metrics: assignment's id -> step -> the scores of an evaluation.
        optuna: study's name -> its trials as Optuna has them.
        edges: every change of a state that the database saw, in order: what, row_id, old, new.
        store: the folder of files; None where only the database is looked at.
        entries: the workers' journals, from the moment on that counts.
        logs: the text of each log, by the name of its file.
        left: the processes that have not ended, as text.
        late: studies that ended too late, as sentences.
        held: what the dead held for too long, as sentences.
        trials, parallel: what each study was created with.
        excused: reasons for which a trial may have failed, as faults made them.
        may_lack: a back-up was restored: an evaluation that was stored since may be missing between two others.
        cancelled: names of the studies that were cancelled.
        excused_errors: names of exceptions that a log may tell of, as faults made them.
        cut_files: "folder/name" of the files that a fault has cut, and that need not be whole.
        uses_gpus: trials reserve half a GPU each.
    """

    studies: Sequence[Any]
    assignments: Sequence[Any]
    metrics: dict[int, dict[int, dict[str, Any]]]
    optuna: dict[str, list[Trial]]
    edges: Sequence[Any]
    store: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    trials: int = 16
    parallel: int = 3
    excused: frozenset[str] = frozenset()
    may_lack: bool = False
    cancelled: frozenset[str] = frozenset()
    excused_errors: frozenset[str] = frozenset()
    cut_files: frozenset[str] = frozenset()
    uses_gpus: bool = False

    def trials_of(self, study: Any) -> list[Any]:
        """Return the rows of a study's trials, by number."""
        rows = [row for row in self.assignments if row.study_id == study.id and row.kind == "train"]
        return sorted(rows, key=lambda row: row.number)


def from_database(database: RoundDatabase, **more: Any) -> Evidence:
    """Read what the database has."""
    metrics: dict[int, dict[int, dict[str, Any]]] = {}
    for row in database.rows(REPORTS):
        metrics.setdefault(row.assignment_id, {})[row.step] = parsed(row.metrics)
    studies = database.rows(STUDIES)
    return Evidence(
        studies=studies,
        assignments=database.rows(ASSIGNMENTS),
        metrics=metrics,
        optuna={study.name: _optuna(database.url, study.name) for study in studies if study.started_at is not None},
        edges=database.rows(f"SELECT what, row_id, old, new FROM {EDGES} ORDER BY id"),
        **more,
    )


def parsed(column: Any) -> Any:
    """Return the value of a column of JSON, which SQLite has as text."""
    return json.loads(column) if isinstance(column, str) else column


def _optuna(url: str, name: str) -> list[Trial]:
    return [
        Trial(trial.number, trial.state.name, trial.value, dict(trial.params), dict(trial.intermediate_values))
        for trial in optuna_trials(url, name)
    ]


def sweep(home: Path, store: Path, database: RoundDatabase) -> None:
    """Do what the service's sweeper does, with a clock that runs ahead: nobody else uses the home any more."""
    url = SecretStr(database.url)
    core = build_core(Settings(home=home, store=store, database_url=url, lease_seconds=LEASE_SECONDS))
    now = 0.0
    orphans = Orphans(core, lambda: now)
    for _ in range(3):  # a folder is an orphan once its files are gone
        for _ in range(2):
            orphans.sweep()
            now += 100 * SWEEP_SECONDS
    core.close()


def journals(folder: Path, since: float) -> list[Entry]:
    """Return the entries that were sent after a moment."""
    return [entry for entry in read(folder) if entry.sent >= since]


def logs(*folders: Path) -> dict[str, str]:
    """Return the text of all logs in these folders."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.log"))]
    return {path.name: path.read_text(errors="replace") for path in paths}
