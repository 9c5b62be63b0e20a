"""What must be true after faults: a function for each promise, from evidence to the sentences of what is broken.

`test_invariants.py` gives each one evidence that it must find fault with.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.faults.evidence import Evidence, parsed
from tests.faults.files import files_are_whole
from tests.faults.intervals import most_at_once, of_edges, of_entries

FINISHED = {"complete", "pruned", "failed", "cancelled"}
OPTUNAS_END = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "cancelled": "FAIL"}
ALLOWED = {
    "luthier_assignment": {
        (None, "queued"),
        ("queued", "running"),
        ("running", "queued"),
        *(("running", end) for end in FINISHED),
        ("queued", "cancelled"),
        ("queued", "failed"),
        ("running", "paused"),
        *(("paused", after) for after in ("queued", "complete", "pruned", "cancelled")),
    },
    "luthier_study": {
        (None, "queued"),
        ("queued", "running"),
        ("queued", "failed"),
        ("running", "completed"),
        ("running", "paused"),
        ("paused", "running"),
        ("running", "failed"),
        *((before, "cancelled") for before in ("queued", "running", "paused")),
    },
    "trials": {(None, "RUNNING"), (None, "WAITING"), ("WAITING", "RUNNING")}
    | {("RUNNING", end) for end in ("COMPLETE", "PRUNED", "FAIL")},
}


def budget_is_met(evidence: Evidence) -> Iterator[str]:
    """Each study has ended well with exactly the trials of its budget, numbered without a gap."""
    for study in evidence.studies:
        trials = evidence.trials_of(study)
        if study.name in evidence.cancelled and study.state == "cancelled":
            continue
        if study.state != "completed":
            yield f"{study.name} is {study.state}: {study.error or study.message}"
        if [row.number for row in trials] != list(range(evidence.trials)):
            yield f"{study.name} has the trials {[row.number for row in trials]}, not {evidence.trials}"
        for row in trials:
            if _has_lost_all(evidence, row):
                continue
            if row.state == "pruned" and row.reason is None and parsed(study.spec)["pruner"]["name"] == "asha":
                continue
            if row.state not in FINISHED or (row.state != "complete" and row.reason not in evidence.excused):
                yield f"trial {row.number} of {study.name} is {row.state}: {row.reason} {row.error}"


def _has_lost_all(evidence: Evidence, row: Any) -> bool:
    """Return whether a trial failed because all of its evaluations were stored since the back-up that was restored."""
    return evidence.may_lack and row.state == "failed" and row.error == "The trial ended without a finite score."


def told_once(evidence: Evidence) -> Iterator[str]:
    """Each trial came to its end once: in our rows, and in Optuna.

    Trials that are written into Optuna anew, after a restore, may get the ids of those before them.
    """
    ends: Counter[tuple[str, int]] = Counter()
    for edge in evidence.edges:
        if edge.what == "trials" and edge.old is None:
            ends[edge.what, edge.row_id] = 0
        ends[edge.what, edge.row_id] += _is_end(edge)
    kinds = {("luthier_assignment", row.id): row.kind for row in evidence.assignments}
    for (what, row_id), count in ends.items():
        if count > 1 and what != "luthier_study" and kinds.get((what, row_id)) != "evaluate":
            yield f"row {row_id} of {what} came to an end {count} times"
    for study in evidence.studies:
        for row in evidence.trials_of(study):
            if row.state in FINISHED and ends["luthier_assignment", row.id] == 0:
                yield f"trial {row.number} of {study.name} is {row.state}, and no change made it so"


def _is_end(edge: Any) -> bool:
    return edge.new in FINISHED or edge.new in set(OPTUNAS_END.values())


def edges_are_allowed(evidence: Evidence) -> Iterator[str]:
    """States moved along allowed edges only."""
    again = {row.id for row in evidence.assignments if row.kind == "evaluate"}  # once more, of weights trained anew
    for edge in evidence.edges:
        if edge.what == "luthier_assignment" and edge.row_id in again and (edge.old, edge.new) == ("failed", "queued"):
            continue
        if (edge.old, edge.new) not in ALLOWED[edge.what]:
            yield f"row {edge.row_id} of {edge.what} went from {edge.old} to {edge.new}"


def rows_are_optunas(evidence: Evidence) -> Iterator[str]:
    """Optuna has our trials: states, parameters, values, intermediate values."""
    for study in evidence.studies:
        ours, theirs = evidence.trials_of(study), evidence.optuna.get(study.name, [])
        if study.name in evidence.cancelled:  # what was drawn at that moment is Optuna's alone
            theirs = [trial for trial in theirs if trial.number < len(ours) or trial.state != "RUNNING"]
        if [row.number for row in ours] != [trial.number for trial in theirs]:
            yield f"{study.name}: our trials are not Optuna's: {len(ours)} and {len(theirs)}"
            continue
        for row, trial in zip(ours, theirs, strict=True):
            where = f"trial {row.number} of {study.name}"
            if OPTUNAS_END.get(row.state) != trial.state and row.reason not in evidence.excused:
                yield f"{where} is {row.state} and, for Optuna, {trial.state}"
            if row.state == "complete" and row.value != trial.value:
                yield f"{where} has the value {row.value} and, for Optuna, {trial.value}"
            if not trial.params or not trial.params.items() <= parsed(row.params).items():  # it has the searched ones
                yield f"{where} has the parameters {row.params} and, for Optuna, {trial.params}"
            scores = {step: metrics["accuracy"] for step, metrics in evidence.metrics.get(row.id, {}).items()}
            if scores != trial.values and not (evidence.may_lack and scores.items() <= trial.values.items()):
                yield f"{where} was evaluated {scores} and, for Optuna, {trial.values}"


def evaluations_are_whole(evidence: Evidence) -> Iterator[str]:
    """A complete or pruned trial has each of its evaluations, from the first to the last, once."""
    for study in evidence.studies:
        for row in evidence.trials_of(study):
            steps = sorted(evidence.metrics.get(row.id, {}))
            if evidence.may_lack:
                steps = list(range(1, max(steps, default=0) + 1))
            if row.state in ("complete", "pruned") and steps != list(range(1, len(steps) + 1)):
                yield f"trial {row.number} of {study.name} has the evaluations {steps}"
            if row.state == "complete" and row.step != len(steps):
                yield f"trial {row.number} of {study.name} is at {row.step} and has {len(steps)} evaluations"


def nothing_is_held(evidence: Evidence) -> Iterator[str]:
    """Nobody holds anything once all has ended; and the dead held nothing for more than two leases."""
    for row in evidence.assignments:
        if row.state in ("running", "queued", "paused"):
            yield f"assignment {row.id} ({row.kind}) is {row.state}, held by {row.worker}"
    yield from evidence.held


def winner_is_measured(evidence: Evidence) -> Iterator[str]:
    """A study that has ended has its best trial as its winner, measured and packed."""
    for study in evidence.studies:
        values = {row.number: row.value for row in evidence.trials_of(study) if row.state == "complete"}
        if study.state != "completed" or not values:
            continue
        if study.winner is None or values.get(study.winner) != max(values.values()):
            yield f"{study.name} has the winner {study.winner}, and the values {values}"
        if study.model is None or study.test is None:
            yield f"{study.name} has no model or no test scores"


def parallel_is_kept(evidence: Evidence) -> Iterator[str]:
    """At no moment ran more trials of a study than it allows: by our rows, and by what workers wrote down."""
    for study in evidence.studies:
        ids = {row.id for row in evidence.trials_of(study)}
        most = most_at_once(of_edges(evidence.edges, ids))
        if most > evidence.parallel:
            yield f"{most} trials of {study.name} ran at once by our rows, {evidence.parallel} may"
        most = most_at_once(of_entries(evidence.entries, lambda claim, name=study.name: claim.study == name))
        if most > evidence.parallel:
            yield f"{most} trials of {study.name} ran at once by the journals, {evidence.parallel} may"


def shares_are_kept(evidence: Evidence) -> Iterator[str]:
    """At no moment were more than two halves of a GPU in use."""
    if not evidence.uses_gpus:
        return
    for gpu in {entry.gpu for entry in evidence.entries if entry.gpu is not None}:
        most = most_at_once(of_entries(evidence.entries, lambda claim, gpu=gpu: claim.gpu == gpu))
        if most > 2:
            yield f"{most} trials that need half a GPU ran on {gpu} at once"


def accepted_is_kept(evidence: Evidence) -> Iterator[str]:
    """What a worker was told to be stored is stored; each end was accepted of one holder, and is the row's."""
    rows = {row.id: row for row in evidence.assignments}
    ends: dict[int, set[tuple[str, str]]] = {}
    for entry in evidence.entries:
        row = rows.get(entry.id)
        if not entry.accepted or entry.route not in ("report", "finish"):
            continue
        if row is None:
            yield f"{entry.worker} was told that a {entry.route} of {entry.id} is stored, which is no assignment"
        elif entry.route == "finish" and entry.end in FINISHED:
            ends.setdefault(entry.id, set()).add((entry.token, entry.end))
        elif entry.route == "report":
            stored = evidence.metrics.get(entry.id, {}).get(entry.step, {}).get("accuracy")
            if stored != entry.value:
                yield f"evaluation {entry.step} of {entry.id} was taken with {entry.value}, and is {stored}"
    for id, accepted in ends.items():
        if len(accepted) > 1 and rows[id].kind != "evaluate":
            yield f"assignment {id} was ended by {len(accepted)} messages: {sorted(end for _, end in accepted)}"
        elif _has_lost_all(evidence, rows[id]):
            continue
        elif rows[id].kind == "train" and rows[id].state not in {end for _, end in accepted}:
            yield f"assignment {id} is {rows[id].state}, and its worker was told {accepted}"


def nothing_is_refused(evidence: Evidence) -> Iterator[str]:
    """No honest message was refused for what it says: at worst its lease was over."""
    for entry in evidence.entries:
        if 400 <= entry.status < 500 and entry.status not in (404, 409):
            yield f"{entry.worker}'s {entry.route} of {entry.id} was refused ({entry.status}): {entry.detail}"


def ended_in_time(evidence: Evidence) -> Iterator[str]:
    """Each study ended within a lease of the ideal, once nothing was disturbed any more."""
    yield from evidence.late


TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:.*\n){1,200}?(?=\S)(.*)")


def no_traceback(evidence: Evidence) -> Iterator[str]:
    """No log of a service or a worker shows a traceback."""
    for name, text in evidence.logs.items():
        errors = [match[1] for match in TRACEBACK.finditer(text)]
        for error in [error for error in errors if not any(known in error for known in evidence.excused_errors)][:3]:
            yield f"{name} has a traceback: {error[:200]}"


def no_process_is_left(evidence: Evidence) -> Iterator[str]:
    """No process of a worker outlived it."""
    yield from (f"the process {process} is left" for process in evidence.left)


Invariant = Callable[[Evidence], Iterable[str]]
INVARIANTS: tuple[Invariant, ...] = (
    budget_is_met,
    told_once,
    edges_are_allowed,
    rows_are_optunas,
    evaluations_are_whole,
    nothing_is_held,
    files_are_whole,
    winner_is_measured,
    parallel_is_kept,
    shares_are_kept,
    accepted_is_kept,
    nothing_is_refused,
    ended_in_time,
    no_traceback,
    no_process_is_left,
)


def violations(evidence: Evidence) -> list[str]:
    """Return what is broken, each with the name of its invariant."""
    return [f"{check.__name__}: {sentence}" for check in INVARIANTS for sentence in check(evidence)]
