"""A successor: which old trials a new study takes over whole, which configurations it runs anew, and what is dropped.

The service stores the old trials with the new study, and asks here once that study is inspected. The kind of warm
start is that of SageMaker (identical data and algorithm, or transfer), decided for each trial. Nothing is read or
written here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from luthier.studies.hyperparameters import Params, complete, is_used
from luthier.studies.old_trials import OldTrial, Predecessor, Taken
from luthier.studies.origin import Origin
from luthier.studies.protocol import TrialState
from luthier.studies.results import Inspection
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.translation import translated
from luthier.studies.warm_start import adapt

_SAME = (
    ("objective", "its objective"),
    ("early_stopping", "its early_stopping"),
    ("augmentation", "its augmentation"),
    ("precision", "its precision"),
    ("quantization", "its quantization"),
    ("gradient_checkpointing", "its gradient_checkpointing"),
    ("evaluations_per_epoch", "its evaluations_per_epoch"),
    ("generation", "its generation"),
    ("answering", "its answering"),
    ("semantics", "the version of Luthier that it began with"),
)
"""Keys of a spec that decide what a trial's score is, and their names in a sentence."""
_OF_READING = {"source", "unreadable", "strict"}
"""Keys of a data set of which the fingerprint of the examples says all."""


@dataclass(frozen=True)
class Moved:
    """An old trial in the new study's space."""

    old: OldTrial
    params: Params
    why: str = ""


@dataclass
class Choice:
    """What the new study takes: trials in the order of their numbers there, and what is dropped.

    Attributes:
        baseline: the configuration of trial 0; None where that is the first of `whole`.
        whole: trials that are taken over with their scores.
        anew: configurations that are run anew.
        dropped: the other old trials.
        reason: why nothing was taken whole, for the whole of the old study.
    """

    baseline: Params | None
    whole: list[Moved] = field(default_factory=list)
    anew: list[Moved] = field(default_factory=list)
    dropped: list[Taken] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class Successor:
    """A new study that is inspected: its spec, its resolved space, and where its old trials come from."""

    spec: StudySpec
    inspection: Inspection
    origin: Origin
    source: Predecessor | None  # None: the trials of no study here

    def choose(self, old: Sequence[OldTrial]) -> Choice:
        """Decide what becomes of each old trial.

        Args:
            old: The trials, by number.
        """
        space = self._space
        baseline = space.baseline(self.spec.task_info.baseline)
        choice = Choice(baseline, reason=self.difference() if self.origin.take == "trials" else None)
        may_be_whole = self.origin.take == "trials" and choice.reason is None
        left: list[tuple[OldTrial, str]] = []
        for trial in old:
            params = self._carried(trial) if may_be_whole else None
            if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
                choice.dropped.append(Taken(from_trial=trial.number, why=f"it is {trial.state}, without a score"))
            elif params is not None:
                choice.whole.append(Moved(trial, params))
            elif trial.state == TrialState.COMPLETE:
                left.append((trial, "its configuration is not in today's space. " if may_be_whole else ""))
            else:
                choice.dropped.append(Taken(from_trial=trial.number, why="it was pruned: not worth a run"))
        self._put_baseline_first(choice, space.key(baseline))
        self._choose_anew(choice, left, space.key(baseline))
        return choice

    def difference(self) -> str | None:
        """Return what differs between the two studies, so that no score of the old one holds in the new one."""
        if self.source is None:
            return "They ran elsewhere."
        before, today = self.source.spec, self.spec
        found = self.source.inspection
        if found.fingerprint != self.inspection.fingerprint:
            return f"The data of {before.name} differ: other rows, or other splits."
        if found.label_names != self.inspection.label_names:
            return f"The labels of {before.name} differ."
        differing = [words for name, words in _SAME if getattr(before, name) != getattr(today, name)]
        if before.dataset.model_dump(exclude=_OF_READING) != today.dataset.model_dump(exclude=_OF_READING):
            differing.append("how its data are read")
        return f"{before.name} was another study: {', '.join(differing)} differed." if differing else None

    @cached_property
    def _space(self) -> Space:
        return self.spec.resolved_space(self.inspection)

    @cached_property
    def _old_space(self) -> Space:
        """The old study's resolved space. Raises ValidationError where it does not fit its inspection any more."""
        assert self.source is not None
        return self.source.spec.resolved_space(self.source.inspection)

    def _carried(self, trial: OldTrial) -> Params | None:
        """Return a trial's configuration in today's space, where it means exactly the same there; else None."""
        assert self.source is not None
        model = str(trial.params.get("model", self.source.spec.models[0]))
        try:
            if not _same_model(model, self.source, self.spec, self.inspection):
                return None
            before, given = self._translated(trial)
            space = self._space
            checked = space.check({name: given[name] for name in space if name in given and is_used(name, given)})
        except ValidationError:
            return None
        after = space.assigned(complete(checked, self.spec.task_info.baseline))
        return checked if all(after.get(name) == value for name, value in before.items() if name != "model") else None

    def _translated(self, trial: OldTrial) -> tuple[Params, Params]:
        """Return an old trial's whole configuration: as its worker got it, and in the terms of today's space.

        Raises:
            ValidationError: The old space does not fit its inspection any more.
        """
        assert self.source is not None
        return translated(trial.params, self.source, self._old_space, self.spec.models)

    def _put_baseline_first(self, choice: Choice, key: tuple[Any, ...]) -> None:
        """Make an old trial with the baseline's configuration trial 0, so that it need not run again."""
        keys = [self._space.key(moved.params) for moved in choice.whole]
        complete_ones = [i for i, moved in enumerate(choice.whole) if moved.old.state == TrialState.COMPLETE]
        first = next((i for i in complete_ones if keys[i] == key), None)
        if first is not None:
            choice.whole.insert(0, choice.whole.pop(first))
            choice.baseline = None

    def _choose_anew(self, choice: Choice, left: Sequence[tuple[OldTrial, str]], baseline: tuple[Any, ...]) -> None:
        """Choose the configurations that are run anew: the best first, each once, as many as the budget pays."""
        space, trials = self._space, self.spec.budget.trials
        known = {space.key(moved.params) for moved in choice.whole} | {baseline}
        room = len(left) if trials is None else trials - (choice.baseline is not None)
        room = room if self.origin.top is None else min(room, self.origin.top)
        for trial, why in self._best_first(left):
            params, changes = self._fitted(trial, space)
            if params is None:
                text = changes
            elif (key := space.key(params)) in known:
                text = "its configuration is that of another trial"
            elif len(choice.anew) >= room:
                text = f"the budget{', or from.top,' if self.spec.origin is not None else ''} has no room for it"
            else:
                known.add(key)
                choice.anew.append(Moved(trial, params, why + changes))
                continue
            choice.dropped.append(Taken(from_trial=trial.number, why=why + text))

    def _best_first(self, left: Sequence[tuple[OldTrial, str]]) -> list[tuple[OldTrial, str]]:
        """Return trials by their score, those without one last."""
        maximize = (self.spec if self.source is None else self.source.spec).maximize
        sign = -1.0 if maximize else 1.0

        def rank(item: tuple[OldTrial, str]) -> tuple[bool, float]:
            value = item[0].value
            return (value is None, 0.0 if value is None else sign * value)

        return sorted(left, key=rank)

    def _fitted(self, trial: OldTrial, space: Space) -> tuple[Params | None, str]:
        """Return a configuration moved into today's space, None where it does not fit; and the changes in words."""
        given: Mapping[str, Any] = trial.params
        if self.source is not None:
            try:
                whole = self._translated(trial)[1]
            except ValidationError:
                whole = dict(trial.params)
            given = {name: whole[name] for name in space if name in whole and is_used(name, whole)}
        adapted = adapt(given, space)
        unwritten = "max_length is new: " if "max_length" not in self.spec.space else "-"  # the inspection's
        changes = [text for text in adapted.changes if not text.startswith(unwritten)]
        gone = [name for name in trial.params if name not in space and name not in given and name != "model"]
        return adapted.params, "; ".join(_texts(changes, gone, self.source is None))


def _texts(changes: Sequence[str], gone: Sequence[str], is_foreign: bool) -> Iterator[str]:
    yield from (text for text in changes if is_foreign or " is new: " not in text)
    yield from (f"{name} is not searched any more" for name in gone)


def _same_model(name: str, source: Predecessor, spec: StudySpec, inspection: Inspection) -> bool:
    """Return whether both studies have a model of this name, and their inspections found the same in it."""
    if name not in source.spec.models or name not in spec.models:
        return False
    before = source.inspection.models[source.spec.models.index(name)]
    today = inspection.models[spec.models.index(name)]
    return all(
        getattr(before, part) == getattr(today, part)
        for part in ("blocks", "trainable_parameters", "batching", "pooling")
    )
