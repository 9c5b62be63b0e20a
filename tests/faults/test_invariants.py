"""Every invariant finds fault with a database, files, journals or logs in which its promise is broken."""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy

from tests.faults import evidence, files, invariants
from tests.faults.databases import SqliteDatabase, sqlite_triggers
from tests.faults.evidence import Evidence
from tests.faults.holding import HoldingWatch
from tests.faults.journal import Entry, Journal
from tests.faults.scripted import JournalingWorker
from tests.support.harness import running

TRIALS = 4


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, _prepared_sqlite: Path) -> Path:
    """The home of a study that has ended, with its journals."""
    home = tmp_path_factory.mktemp("faults") / "home"
    home.mkdir()
    shutil.copyfile(_prepared_sqlite, home / "luthier.db")
    run(home, *sqlite_triggers())
    with running(home, f"sqlite:///{home / 'luthier.db'}") as house:
        house.create(budget={"trials": TRIALS}, resources={"gpus": 0.5})
        worker = JournalingWorker(house.url, "w1", Journal(home / "journals", "w1", "gpu"), remote=False, seed=1)
        worker.gpu = {"id": "gpu", "total_bytes": 10**10}
        worker.drain()
        worker.client.close()
    evidence.sweep(home, home / "store", SqliteDatabase(home / "luthier.db"))
    return home


@pytest.fixture
def home(ended: Path, tmp_path: Path) -> Path:
    """A copy of it, to be corrupted."""
    return shutil.copytree(ended, tmp_path / "home")


def run(home: Path, *statements: str) -> None:
    """Execute statements in the home's database."""
    engine = sqlalchemy.create_engine(f"sqlite:///{home / 'luthier.db'}", poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def read(home: Path, **more: Any) -> Evidence:
    """Read all evidence of the home."""
    entries = evidence.journals(home / "journals", 0.0)
    given = {"store": home / "store", "entries": entries, "trials": TRIALS, "parallel": 2, "uses_gpus": True}
    return evidence.from_database(SqliteDatabase(home / "luthier.db"), **given | more)


def broken(found: Evidence) -> set[str]:
    """Return the names of the invariants that do not hold."""
    return {sentence.partition(":")[0] for sentence in invariants.violations(found)}


@pytest.mark.full
def test_nothing_is_broken_in_an_undisturbed_study(home: Path) -> None:
    found = read(home)
    assert invariants.violations(found) == []
    assert len(found.trials_of(found.studies[0])) == TRIALS
    assert {edge.what for edge in found.edges} == {"luthier_assignment", "luthier_study", "trials"}
    assert {entry.route for entry in found.entries} == {"claim", "renew", "report", "finish"}
    assert len(list(files.named_files(found))) >= 2


TRAIN = "kind = 'train' AND number = 2"
CORRUPTIONS: dict[str, tuple[str, list[str]]] = {
    "a trial is missing": ("budget_is_met", [f"DELETE FROM luthier_assignment WHERE {TRAIN}"]),
    "a study has failed": ("budget_is_met", ["UPDATE luthier_study SET state = 'failed'"]),
    "a trial has failed": ("budget_is_met", [f"UPDATE luthier_assignment SET state = 'failed' WHERE {TRAIN}"]),
    "Optuna was told twice": (
        "told_once",
        [f"UPDATE trials SET state = '{state}' WHERE number = 1" for state in ("RUNNING", "COMPLETE")],
    ),
    "a trial ended twice": (
        "told_once",
        [f"UPDATE luthier_assignment SET state = '{state}' WHERE {TRAIN}" for state in ("running", "complete")],
    ),
    "an end that no change made": ("told_once", ["DELETE FROM fault_edge WHERE new = 'complete'"]),
    "an ended trial ran again": (
        "edges_are_allowed",
        [f"UPDATE luthier_assignment SET state = 'running' WHERE {TRAIN}"],
    ),
    "an ended study went on": ("edges_are_allowed", ["UPDATE luthier_study SET state = 'running'"]),
    "Optuna has another value": ("rows_are_optunas", ["UPDATE trial_values SET value = 0.1 WHERE trial_id = 2"]),
    "Optuna has another parameter": (
        "rows_are_optunas",
        ["UPDATE trial_params SET param_value = 0 WHERE trial_id = 2 AND param_name = 'batch_size'"],
    ),
    "Optuna lacks an evaluation": ("rows_are_optunas", ["DELETE FROM trial_intermediate_values WHERE trial_id = 2"]),
    "Optuna believes that a trial runs": ("rows_are_optunas", ["UPDATE trials SET state = 'RUNNING' WHERE number = 1"]),
    "Optuna has one trial less": ("rows_are_optunas", ["DELETE FROM trials WHERE number = 3"]),
    "an evaluation is lost": ("evaluations_are_whole", ["DELETE FROM luthier_report WHERE step = 1"]),
    "the dead hold a trial": ("nothing_is_held", [f"UPDATE luthier_assignment SET state = 'running' WHERE {TRAIN}"]),
    "a row names what is gone": (
        "files_are_whole",
        [
            f"""UPDATE luthier_assignment SET best = '{{"name": "gone", "sha256": "{"0" * 64}", "bytes": 3}}' """
            f"WHERE {TRAIN}"
        ],
    ),
    "another trial is the winner": ("winner_is_measured", ["UPDATE luthier_study SET winner = (winner + 1) % 4"]),
    "the winner was not measured": ("winner_is_measured", ["UPDATE luthier_study SET test = NULL, model = NULL"]),
    "too many ran at once": (
        "parallel_is_kept",
        [
            "INSERT INTO fault_edge (id, what, row_id, old, new) SELECT -id, 'luthier_assignment', id, 'queued', "
            "'running' FROM luthier_assignment WHERE kind = 'train'"
        ],
    ),
    "an accepted evaluation is another": (
        "accepted_is_kept",
        ["""UPDATE luthier_report SET metrics = '{"accuracy": 0.1}' WHERE step = 1"""],
    ),
    "an accepted end is another": (
        "accepted_is_kept",
        [f"UPDATE luthier_assignment SET state = 'pruned' WHERE {TRAIN}"],
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupted_database_is_found(home: Path, corruption: str) -> None:
    invariant, statements = CORRUPTIONS[corruption]
    run(home, *statements)
    assert invariant in broken(read(home))


def test_files_that_are_cut_or_that_nobody_names_are_found(home: Path) -> None:
    found = read(home)
    folder, ref = next(files.named_files(found))
    path = home / "store" / folder / ref["name"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert broken(found) == {"files_are_whole"}
    assert broken(dataclasses.replace(found, cut_files=frozenset({f"{folder}/{ref['name']}"}))) == set()
    path.write_bytes(whole)
    (path.parent / "resume-77").write_bytes(b"left")
    assert broken(found) == {"files_are_whole"}


def _overlapping(found: Evidence) -> list[Entry]:
    """Let each trial be held from the first claim on."""
    first = min(entry.sent for entry in found.entries)
    return [dataclasses.replace(entry, answered=first) if entry.route == "claim" else entry for entry in found.entries]


CHANGES: dict[str, Callable[[Evidence], dict[str, Any]]] = {
    "parallel_is_kept": lambda found: {"entries": _overlapping(found), "uses_gpus": False},
    "shares_are_kept": lambda found: {"entries": _overlapping(found), "parallel": 9},
    "accepted_is_kept": lambda found: {
        "entries": [
            *found.entries,
            *(dataclasses.replace(entry, token="other") for entry in found.entries if entry.end == "complete"),
        ]
    },
    "nothing_is_refused": lambda found: {"entries": [*found.entries, Entry("w1", "report", 1.0, 1.0, 422)]},
    "nothing_is_held": lambda found: {"held": ["a dead worker holds one"]},
    "ended_in_time": lambda found: {"late": ["too late"]},
    "no_traceback": lambda found: {
        "logs": {"w1.log": 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no\n'}
    },
    "no_process_is_left": lambda found: {"left": ["17 python"]},
}


@pytest.mark.parametrize("invariant", CHANGES)
def test_broken_journals_logs_and_processes_are_found(home: Path, invariant: str) -> None:
    found = read(home)
    assert invariant in broken(dataclasses.replace(found, **CHANGES[invariant](found)))


def test_every_invariant_was_shown_to_fail() -> None:
    shown = {invariant for invariant, _ in CORRUPTIONS.values()} | CHANGES.keys()
    assert shown == {check.__name__ for check in invariants.INVARIANTS}


def test_only_what_the_dead_hold_for_long_in_quiet_times_counts(home: Path) -> None:
    watch, now = HoldingWatch(SqliteDatabase(home / "luthier.db"), 1.0), time.monotonic()
    watch.died("dead")
    rows = [SimpleNamespace(id=1, worker="dead"), SimpleNamespace(id=2, worker="alive")]
    watch.judge(rows, now + 2)
    assert watch.violations == []
    watch.judge(rows, now + 60)
    assert len(watch.violations) == 1
    assert "dead" in watch.violations[0]
