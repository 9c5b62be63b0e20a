"""The search: which configuration runs next, and which trial ends early. The only home of Optuna.

    storage = open_storage(url)                   # init_storage(url) once before, in one process
    search = Search(storage, spec, space)
    params = search.ask(0)                        # the baseline; then 1, 2, ... until None
    search.report(0, step=1, value=0.7)           # True: prune
    search.tell(0, TrialState.COMPLETE, 0.7, None)

A trial is created whole, in one transaction, with all its parameters. So a crash leaves a trial that can be adopted
with `ask` by its number, or none.
"""

import copy
import math
import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, create_trial
from optuna.trial import TrialState as OptunaState

from luthier.studies.hyperparameters import Params, Scalar, complete
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.pruners import make_pruner
from luthier.studies.search.samplers import Draws, View, distributions, is_infeasible, missing_packages
from luthier.studies.search.storage import Storage, StorageError, close_storage, init_storage, open_storage
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Search", "Storage", "StorageError", "close_storage", "init_storage", "missing_packages", "open_storage"]

Writing = AbstractContextManager[Any]
Key = tuple[Scalar, ...]  # what tells a configuration from others: Space.key
RANDOM_ATTEMPTS = 1_000  # before a space without end is called exhausted
PRUNED_AT = "luthier:pruned_at"  # the step at which a trial was told to end

optuna.logging.set_verbosity(optuna.logging.WARNING)
optuna.logging.disable_default_handler()
optuna.logging.enable_propagation()


class Search:
    """One study's trials in Optuna. Safe to use from many threads.

    Another process may use the same study: after it has written, call `refresh`, or what it wrote is not seen here.
    The caller sees to it that calls of `ask` and `enqueue` for one study never overlap, and that trials are numbered
    0, 1, 2, ... in the order of those calls.
    """

    def __init__(
        self, storage: Storage, spec: StudySpec, space: Space, writing: Callable[[], Writing] = nullcontext
    ) -> None:
        """Open the study named `spec.name`, or create it. `space` is the spec's, with depths resolved.

        `writing` is held around each write to the storage, and around nothing else: drawing can take seconds.
        """
        self._storage, self.spec, self._space, self._writing = storage, spec, space, writing
        self._free, self._key = space.free(), space.key
        with writing():
            self._study = optuna.create_study(
                storage=storage,
                study_name=spec.name,
                direction=spec.objective.direction,
                sampler=RandomSampler(),
                pruner=make_pruner(spec),
                load_if_exists=True,
            )
        self._study_id = self._study._study_id
        self._keys: dict[int, Key] = {}  # by trial number; a trial's parameters never change
        self._trial_cache: list[FrozenTrial] | None = (
            None  # as stored, as far as this process knows; never changed in place
        )
        self._lock = threading.RLock()

    def refresh(self) -> None:
        """Read the storage anew at the next call: another process has written to this study since the last one."""
        with self._lock:
            self._trial_cache = None

    def ask(self, number: int) -> Params | None:
        """The configuration of trial `number`, which is running from now on; None when the space is exhausted.

        Trial 0 is the baseline. A trial that exists already is adopted with the parameters it has.
        Raises ValueError when a trial before this one does not exist.
        """
        trials = self._trials_before(number)
        if number < len(trials):
            return self._params(trials[number])
        if number == 0:
            params = self._space.clip(complete({}, self.spec.task_info.baseline))
            self._create(params, {})
            return params
        drawn = self._draw(number, trials)
        if drawn is None:
            return None
        self._create(*drawn)
        return drawn[0]

    def enqueue(self, number: int, params: Params) -> None:
        """Create trial `number`, running, with a user's own configuration, which the space has checked.

        Does nothing when the trial exists with this configuration. Raises ValueError when it has another one, or when
        a trial before it does not exist.
        """
        trials = self._trials_before(number)
        if number < len(trials):
            if self._key(self._params(trials[number])) != self._key(params):
                raise ValueError(f"trial {number} exists already, with another configuration; ask for its number")
            return
        self._create(params, {})

    def find(self, params: Params) -> int | None:
        """The number of the first trial, in any state, that has this configuration."""
        key = self._key(params)
        return next((number for number, known in self._known(self._trials()).items() if known == key), None)

    def report(self, number: int, step: int, value: float) -> bool:
        """Store the score of evaluation `step` (from 1); True when the trial is to end now, pruned.

        Never pruned are the baseline, to which the winner is compared, and a trial at its last evaluation, which has
        cost all it can cost. A step reported before is ignored and gets the decision it got. A step that comes after
        the decision to prune, or after the trial's end, gets True.
        Raises ValueError for a score that is not finite, LookupError for a trial that does not exist.
        """
        if not math.isfinite(value):
            raise ValueError(f"the score of trial {number} at step {step} is {value}; only finite scores are stored")
        view = View(self._storage, self._study_id, self._trials())
        trial = self._trial(number)
        if step in trial.intermediate_values:
            return bool(trial.system_attrs.get(PRUNED_AT) == step)
        if trial.state.is_finished():
            return True
        seen = copy.copy(trial)
        seen.intermediate_values = {**trial.intermediate_values, step: value}
        prune = bool(make_pruner(self.spec).prune(view.study(self.spec.name), seen))  # its notes serve the others too
        prune = (prune and number != 0 and step < self._last_step(trial)) or PRUNED_AT in trial.system_attrs
        notes = view.notes | ({PRUNED_AT: step} if prune else {})
        try:
            with self._writing():
                if prune:  # before the value: once that is stored, a repeat of the report reads the decision here
                    self._storage.set_trial_system_attr(trial._trial_id, PRUNED_AT, step)
                self._storage.set_trial_intermediate_value(trial._trial_id, step, value)
                for key, note in view.notes.items():
                    self._storage.set_trial_system_attr(trial._trial_id, key, note)
        except UpdateFinishedTrialError:
            self.refresh()
            return True
        self._change(trial, intermediate_values=seen.intermediate_values, system_attrs=trial.system_attrs | notes)
        return prune

    def has_report(self, number: int, step: int) -> bool:
        """Whether the score of evaluation `step` is stored. Raises LookupError for a trial that does not exist."""
        return step in self._trial(number).intermediate_values

    def tell(self, number: int, state: TrialState, value: float | None, reason: Reason | None) -> None:
        """Record how trial `number` ended; a trial that has ended already stays as it is.

        A trial that ran out of memory or diverged is one to learn from: pruned, and marked infeasible. Any other
        failure says nothing about its configuration, and samplers never see it.
        Raises ValueError for a complete trial without a finite value, LookupError for one that does not exist.
        """
        if state not in _ENDS:
            raise ValueError(f"trial {number} cannot be told as {state}; it has not ended")
        infeasible = (state, reason) in ((TrialState.FAILED, Reason.OOM), (TrialState.PRUNED, Reason.DIVERGED))
        values: list[float] | None = None
        if state == TrialState.COMPLETE:
            if value is None or not math.isfinite(value):
                raise ValueError(f"trial {number} is complete, so it needs a finite value, not {value}")
            values = [value]
        trial = self._trial(number)
        if trial.state.is_finished():
            return
        end = OptunaState.PRUNED if infeasible else _ENDS[state]
        if end == OptunaState.PRUNED and trial.last_step is not None:
            values = [trial.intermediate_values[trial.last_step]]
        try:
            with self._writing():
                if infeasible and reason and not is_infeasible(trial):
                    Trial(self._study, trial._trial_id).set_constraint(reason, 1.0)
                self._storage.set_trial_state_values(trial._trial_id, end, values)
        except UpdateFinishedTrialError:
            self.refresh()
            return
        if infeasible:
            self.refresh()  # the constraint is the storage's to show
        else:
            self._change(trial, state=end, values=values, datetime_complete=datetime.now())

    def unfinished(self) -> list[int]:
        """Numbers of the trials that Optuna believes to be running."""
        return [trial.number for trial in self._trials() if not trial.state.is_finished()]

    def count(self) -> int:
        """How many trials there are, in any state."""
        return len(self._trials())

    def figure(self, kind: str) -> "Figure":
        """A plot: history, importance, parallel, slice, contour, intermediate or timeline.

        Raises ValueError with a sentence for another kind, or when there is not enough to draw yet.
        """
        from luthier.studies.search import figures  # plotly takes half a second

        searched = [name for name, d in distributions(self._space).items() if not d.single()]
        return figures.draw(kind, self._study, searched, self.spec.objective.metric)

    def delete(self) -> None:
        """Delete the study and its trials. Does nothing when it is gone already."""
        with suppress(KeyError), self._writing():
            self._storage.delete_study(self._study_id)

    def _trials(self) -> list[FrozenTrial]:
        """Every trial in the order of the numbers. Reading them costs as much as all else, so our own writes are kept
        up with here, and the storage is read when `refresh` says that somebody else wrote."""
        with self._lock:
            if self._trial_cache is None:
                self._trial_cache = list(self._storage.get_all_trials(self._study_id, deepcopy=False))
            return list(self._trial_cache)

    def _trials_before(self, number: int) -> list[FrozenTrial]:
        """The trials that trial `number` is drawn after. Raises ValueError when one of them is missing."""
        trials = self._trials()
        if number != len(trials):
            self.refresh()
            trials = self._trials()
        if number > len(trials):
            count = len(trials)
            raise ValueError(f"study {self.spec.name} has {count} trials, so the next one is {count}, not {number}")
        return trials

    def _trial(self, number: int) -> FrozenTrial:
        trials = self._trials()
        if number >= len(trials):
            self.refresh()
            trials = self._trials()
        if not 0 <= number < len(trials):
            raise LookupError(f"study {self.spec.name} has no trial {number}; ask for it first")
        return trials[number]

    def _change(self, trial: FrozenTrial, **fields: Any) -> None:
        """Keep up with what was stored about a trial. A copy is changed: others may be reading the trial."""
        changed = copy.copy(trial)
        for name, value in fields.items():
            setattr(changed, name, value)
        with self._lock:
            if self._trial_cache is not None and trial.number < len(self._trial_cache):
                self._trial_cache[trial.number] = changed

    def _create(self, params: Params, notes: dict[str, Any]) -> None:
        template = create_trial(
            state=OptunaState.RUNNING,
            params={name: params[name] for name in self._free},
            distributions=distributions(self._space),
            system_attrs=notes,
        )
        template.datetime_start = datetime.now()  # naive, as Optuna keeps them
        with self._writing():
            template._trial_id = self._storage.create_new_trial(self._study_id, template_trial=template)
        with self._lock:
            if self._trial_cache is not None:
                template.number = len(self._trial_cache)
                self._trial_cache.append(template)

    def _last_step(self, trial: FrozenTrial) -> int:
        """The evaluation at the end of the trial's epochs."""
        params = complete(self._params(trial), self.spec.task_info.baseline)
        return int(params["epochs"]) * self.spec.evaluations_per_epoch

    def _params(self, trial: FrozenTrial) -> Params:
        return {name: trial.params[name] if name in self._free else d for name, d in self._space.items()}  # type: ignore[misc]

    def _known(self, trials: list[FrozenTrial]) -> dict[int, Key]:
        with self._lock:
            for trial in trials[len(self._keys) :]:
                self._keys[trial.number] = self._key(trial.params)
            return dict(self._keys)

    def _draw(self, number: int, trials: list[FrozenTrial]) -> tuple[Params, dict[str, Any]] | None:
        """A configuration that no trial has, with the sampler's notes; None when there is none left."""
        known = set(self._known(trials).values())
        draws = Draws(self.spec, self._space, number, self._storage, self._study_id, trials)
        size = self._space.size()
        if size is not None and len(known) >= size:
            return None
        if self.spec.sampler.name != "grid":
            for attempt in range(draws.attempts if size is not None else draws.attempts + RANDOM_ATTEMPTS):
                params, notes = draws.proposal(attempt)
                if self._key(params) not in known:
                    return params, notes
        if size is None:
            return None
        return self._unused(size, known, random.Random(draws.seed(draws.attempts))), {}  # noqa: S311 - not a secret

    def _unused(self, size: int, known: set[Key], rng: random.Random) -> Params:
        """One of the configurations of a finite space that no trial has, uniformly; there is at least one."""
        if 2 * len(known) < size:  # then a blind choice is new every other time, however large the space
            while self._key(params := self._space.configuration(rng.randrange(size))) in known:
                pass
            return params
        every = (self._space.configuration(index) for index in range(size))
        return rng.choice([params for params in every if self._key(params) not in known])


_ENDS = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}
