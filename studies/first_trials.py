"""The trials that a study begins with, in their order: its baseline, its warm start, its portfolio.

A plan shows them, and the service asks for the portfolio when it opens a search. Nothing is run here.
"""

from typing import Any, Literal

from luthier.studies.budget import Budget
from luthier.studies.external_successor import ExternalSuccessor
from luthier.studies.hyperparameters import Params
from luthier.studies.old_trials import OldTrial
from luthier.studies.portfolio import portfolio
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec
from luthier.studies.successor import Choice, Successor
from luthier.studies.wire import Message

REPEATED = "its configuration is that of another trial"


class FirstTrial(Message):
    """A trial that a study begins with, or a configuration that it drops.

    Attributes:
        number: of the trial; null where the configuration is dropped.
        source: baseline, warm_start or portfolio.
        from_trial: its number in the study of the warm start.
        params: the configuration; null where it does not fit the space.
        why: what was changed, or why it is dropped; "" for nothing.
    """

    number: int | None
    source: Literal["baseline", "warm_start", "portfolio"]
    from_trial: int | None = None
    params: dict[str, Any] | None = None
    why: str = ""


def known_good(spec: StudySpec, inspection: Inspection, first_budget: Budget | None = None) -> list[Params]:
    """Return the portfolio of a study that is inspected.

    Args:
        spec: The study's.
        inspection: What a worker found.
        first_budget: The budget that it had before it was extended; None: it was not.
    """
    if spec.is_external:
        return []
    return portfolio(
        spec.resolved_space(inspection),
        inspection.depths,
        spec.task_info,
        spec.semantics,
        spec.sampler,
        first_budget or spec.budget,
        spec.warm_start,
    )


def first_trials(spec: StudySpec, inspection: Inspection) -> list[FirstTrial]:
    """Return what a study of this spec would run first; what it would take over whole from old trials is left out."""
    space = spec.resolved_space(inspection)
    baseline = space.baseline(spec.task_info.baseline)
    first = [FirstTrial(number=0, source="baseline", params=baseline)]
    choice = _warm(spec, inspection)
    for moved in choice.anew:
        warm = {"source": "warm_start", "from_trial": moved.old.number, "params": moved.params, "why": moved.why}
        first.append(FirstTrial.model_validate({"number": len(first), **warm}))
    known = {space.key(trial.params) for trial in first if trial.params is not None}
    dropped = [FirstTrial(number=None, source="warm_start", from_trial=t.from_trial, why=t.why) for t in choice.dropped]
    room = spec.budget.trials
    for params in known_good(spec, inspection):
        is_new = space.key(params) not in known and (room is None or len(first) < room)
        trial = FirstTrial(number=len(first) if is_new else None, source="portfolio", params=params)
        known.add(space.key(params))
        if is_new:
            first.append(trial)
        else:
            dropped.append(trial.model_copy(update={"why": REPEATED}))
    return first + dropped


def _warm(spec: StudySpec, inspection: Inspection) -> Choice:
    """Return what becomes of the configurations of a spec's warm start, which are written out."""
    origin = spec.takes_over
    if spec.warm_start is None or origin is None:
        return Choice(None)
    kind = ExternalSuccessor if spec.is_external else Successor
    return kind(spec, inspection, origin, None).choose(warm_trials(spec))


def warm_trials(spec: StudySpec) -> list[OldTrial]:
    """Return the configurations of a spec's warm start as old trials, in their order.

    They have no values: those were measured by another study, whose objective may rank them otherwise.
    """
    best = [] if spec.warm_start is None else spec.warm_start.trials or []
    return [OldTrial(number=i if one.trial is None else one.trial, params=one.params) for i, one in enumerate(best)]
