"""The search of one study: it draws the next configuration, and decides which trials end early.

    storage = open_storage(url)                   # init_storage(url) once before, in one process
    search = Search(storage, spec, space)
    params = search.ask(0)                        # the baseline; then 1, 2, ... until None
    search.report(0, step=1, value=0.7)           # True: prune
    search.tell(0, TrialState.COMPLETE, 0.7, None)

The service's dispatch asks, reports and tells. A trial is created whole, in one transaction, with all its parameters.
So a crash leaves a trial that can be adopted with `ask` by its number, or none.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

import optuna
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.cost_aware import price_of, seconds_noted
from luthier.studies.search.distributions import searched
from luthier.studies.search.drawing import Draw, as_pruned
from luthier.studies.search.pruners import make_pruner
from luthier.studies.search.pruning import OWN_SEED, is_probe, is_pruned
from luthier.studies.search.restoring import PRUNED_AT, KnownTrial, end_of, restore
from luthier.studies.search.storage import Storage
from luthier.studies.search.storage_view import StorageView
from luthier.studies.search.study_trials import Contradicted, StudyTrials, Writing
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.trial_costs import Costs

Drawn = TypeVar("Drawn")  # a plot
REQUEST = "luthier:request"  # a trial's system attribute: what the service keeps of the request for it
optuna.logging.set_verbosity(optuna.logging.WARNING)
optuna.logging.disable_default_handler()
optuna.logging.enable_propagation()


class Search:
    """The search of one study, over its trials in Optuna. Safe to use from many threads.

    Another process may use the same study: after it has written, call `refresh`, or its writes are not seen here.
    The caller sees to it that calls of `ask` and `enqueue` for one study never overlap, and that trials are numbered
    0, 1, 2, ... in the order of those calls.
    """

    def __init__(
        self,
        storage: Storage,
        spec: StudySpec,
        space: Space,
        writing: Callable[[], Writing] = nullcontext,
        forgotten: Callable[[], Collection[int]] = tuple,
        name: str | None = None,
        first: Sequence[Params] = (),
        costs: Costs | None = None,
        paused: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """Open the study of this name in the storage, or create it.

        Args:
            storage: Where the study's trials are.
            spec: The study's spec.
            space: The spec's space, resolved.
            writing: Makes the lock that is held around each write to the storage, and around nothing else, since
                drawing can take seconds.
            forgotten: Returns the numbers of the trials that a user deleted, from which nothing is learned, and whose
                configurations may be drawn again.
            first: Configurations that are tried right after the baseline, and after what its user enqueues.
            name: The study's in the storage; None: `spec.name`. What is drawn and pruned does not depend on it.
            costs: What is known of its trials' seconds before any has ended; None: nothing. Only a study that weighs
                seconds asks.
            paused: Returns the numbers of the trials that wait at a rung, with all of their evaluations stored: the
                sampler sees them as pruned there. It is asked before each draw of a study whose trials pause.
        """
        name = spec.name if name is None else name
        self.spec = spec
        self._storage = storage
        self._space = space
        self._first = tuple(first)
        self._costs = costs
        self._read_paused = paused
        with writing():
            optuna.create_study(
                storage=storage,
                study_name=name,
                direction=spec.objective.direction,
                sampler=RandomSampler(),
                pruner=make_pruner(spec),
                load_if_exists=True,
            )
            self._trials = StudyTrials(storage, name, space, writing, forgotten)

    def refresh(self) -> None:
        """Read the storage at the next call: another process has written to this study since the last one."""
        self._trials.forget()

    def forget(self, number: int) -> None:
        """Learn nothing any more from a trial, which a user has just deleted; its configuration may be drawn again."""
        self._trials.drop(number)

    def ask(self, number: int) -> Params | None:
        """Return the configuration of trial `number`, which is running from now on.

        Trial 0 is the baseline; after it come those of `first` that were no trials yet, then the sampler's. A trial
        that exists already is adopted with the parameters it has.

        Returns:
            The configuration, or None when the space is exhausted.

        Raises:
            ValueError: When a trial before this one does not exist.
        """
        trials = self._trials.before(number)
        if number < len(trials):
            return self._params(trials[number])
        if number == 0:
            params = self._space.baseline(self.spec.task_info.baseline)
            self._trials.create(params, {})
            return params
        drawn = self._next_first(trials)
        if drawn is None:
            drawn = self._draw(number, trials).unused(set(self._trials.keys(trials).values()))
        if drawn is None:
            return None
        self._trials.create(*drawn)
        return drawn[0]

    def _next_first(self, trials: list[FrozenTrial]) -> tuple[Params, dict[str, Any]] | None:
        """Return the next configuration before the sampler's; None once all were trials, also deleted ones."""
        if not self._first:
            return None
        known = set(self._trials.keys(trials, deleted=True).values())
        return next(((params, {}) for params in self._first if self._space.key(params) not in known), None)

    def complete(self, number: int, given: Params) -> Params:
        """Return a user's partial configuration for trial `number`, with the sampler's values for all that it lacks.

        Raises:
            ValueError: When a trial before this one does not exist.
        """
        if set(self._space) <= set(given):
            return given
        trials = self._trials.before(number)
        return self._draw(number, trials).around(given, set(self._trials.keys(trials).values()))

    def _draw(self, number: int, trials: list[FrozenTrial]) -> Draw:
        """Prepare to draw trial `number` after these trials."""
        paused = set(self._read_paused()) if self.spec.rungs else set()
        if paused:  # their last evaluations may only just have been stored
            trials = self._trials.before(number)
        shown = [as_pruned(trial) if trial.number in paused else trial for trial in trials]
        price = price_of(self.spec, self._space, self._costs, shown)
        return Draw(self.spec, self._space, number, self._storage, self._trials.study_id, shown, price)

    def enqueue(
        self, number: int, params: Params, seed: int | None = None, request: Mapping[str, Any] | None = None
    ) -> None:
        """Create trial `number`, running, with a user's own configuration, which the space has checked.

        Does nothing when the trial exists with this configuration. A seed of the user's is kept with the trial, and so
        is what the service keeps of the request, for whoever adopts it after a crash.

        Raises:
            ValueError: When it exists with another one, or when a trial before it does not exist.
        """
        trials = self._trials.before(number)
        if number < len(trials):
            if self._space.key(self._params(trials[number])) != self._space.key(params):
                raise ValueError(f"trial {number} exists already, with another configuration; ask for its number")
            return
        notes = {OWN_SEED: seed, REQUEST: dict(request) if request else None}
        self._trials.create(params, {name: note for name, note in notes.items() if note is not None})

    def own_seed(self, number: int) -> int | None:
        """Return the seed that a user gave to trial `number`; None where it has the study's. Raises LookupError."""
        seed = self._trials.get(number).system_attrs.get(OWN_SEED)
        return seed if isinstance(seed, int) else None

    def request_of(self, number: int) -> dict[str, Any]:
        """Return what `enqueue` was told of the request for trial `number`; empty without. Raises LookupError."""
        request = self._trials.get(number).system_attrs.get(REQUEST)
        return dict(request) if isinstance(request, dict) else {}

    def find(self, params: Params) -> int | None:
        """Return the first trial, in any state but deleted, that has this configuration, by number; None without."""
        key = self._space.key(params)
        return next((number for number, taken in self._trials.keys(self._trials.all()).items() if taken == key), None)

    def report(self, number: int, step: int, value: float) -> bool:
        """Store the score of an evaluation, and return whether the trial is to end now, pruned.

        Some trials are never pruned, as `pruning.is_pruned` says. The one evaluation of a trial whose strategy is
        `probe` is not stored: it is as good as a whole trial, and no measure for the first evaluation of others.
        A step reported before is ignored and gets the
        decision it got. A step that comes after the decision to prune, or after the trial's end, gets True.

        Args:
            number: The trial's number.
            step: The evaluation's number, from 1.
            value: The score.

        Raises:
            ValueError: For a score that is not finite.
            LookupError: For a trial that does not exist.
        """
        if not math.isfinite(value):
            raise ValueError(f"the score of trial {number} at step {step} is {value}; only finite scores are stored")
        view = self._view(self._trials.all())
        trial = self._trials.get(number)
        if not self.spec.is_external and is_probe(self._params(trial)):
            return trial.state.is_finished()
        if step in trial.intermediate_values:
            return bool(trial.system_attrs.get(PRUNED_AT) == step)
        if trial.state.is_finished():
            return True
        reported = copy.copy(trial)
        reported.intermediate_values = {**trial.intermediate_values, step: value}
        prune = is_pruned(self.spec, view, reported, self._params(trial), step)
        prune = prune or PRUNED_AT in trial.system_attrs
        # Before the value: once that is stored, a repeat of the report reads the decision here.
        decision = {PRUNED_AT: step} if prune else {}
        return prune if self._trials.store_report(trial, step, value, before=decision, after=view.notes) else True

    def has_ended(self, number: int) -> bool:
        """Return whether a trial has ended, as far as Optuna knows. Raises LookupError for an unknown trial."""
        return self._trials.get(number).state.is_finished()

    def has_report(self, number: int, step: int) -> bool:
        """Return whether the score of evaluation `step` is stored. Raises LookupError for an unknown trial."""
        return step in self._trials.get(number).intermediate_values

    def tell(
        self,
        number: int,
        state: TrialState,
        value: float | None,
        reason: Reason | None,
        seconds: float | None = None,
    ) -> None:
        """Record how trial `number` ended, as `restoring.end_of` says; a trial that has ended already stays as it is.

        Args:
            number: The trial's number.
            state: Its end.
            value: Its score; only a complete trial needs one.
            reason: Why it ended, if not by running to its end.
            seconds: That workers were busy with it, for draws that weigh that; None: it says nothing of its
                configuration.

        Raises:
            ValueError: For a complete trial without a finite value, or a state that is no end.
            Contradicted: It has ended otherwise.
            LookupError: For a trial that does not exist.
        """
        trial = self._trials.get(number)
        end = end_of(trial, state, value, reason, seconds_noted(self.spec, seconds))
        if not trial.state.is_finished():
            self._trials.store_end(trial, end.state, end.values, end.notes)
        elif trial.state != end.state:
            raise Contradicted(f"trial {number} ended as {end.state.name}, and for Optuna as {trial.state.name}")

    def restore(self, known: Sequence[KnownTrial], keep: Callable[[], None], anew: bool = False) -> None:
        """Write into the storage what it lacks of the service's trials; see `restoring.restore`.

        The caller sees to it that nobody asks or enqueues meanwhile, and opens the search anew before, so that it has
        read the storage.
        """
        restore(self._trials, self._view, self.spec, self._space, known, keep, anew)

    def is_dense(self) -> bool:
        """Return whether the storage has every trial before its last one."""
        return self._trials.is_dense()

    def unfinished(self) -> list[int]:
        """Return the numbers of the trials that are running, as far as Optuna knows."""
        return [trial.number for trial in self._trials.all() if not trial.state.is_finished()]

    def count(self) -> int:
        """Return the number of trials, in any state."""
        return len(self._trials.all())

    def plot(self, kind: str) -> tuple[str, int, int]:
        """Draw a plot: history, importance, parallel, slice, contour, intermediate or timeline (or rank, edf).

        Returns:
            Plotly's JSON, of a few MB at most; how many trials the study had then; how many of them had ended.

        Raises:
            ValueError: With a sentence, for another kind or when there is not enough to draw yet.
        """
        from luthier.studies.search import figures  # plotly takes half a second

        return self._drawn(figures.draw, kind)

    def picture(self, kind: str) -> tuple[bytes, int, int]:
        """Draw a plot as PNG; the rest is as for `plot`."""
        from luthier.studies.search import pictures  # matplotlib takes a second

        return self._drawn(pictures.draw_picture, kind)

    def _drawn(self, draw: Callable[..., Drawn], kind: str) -> tuple[Drawn, int, int]:
        trials = self._trials.remembered()
        names, metric = list(searched(self._space)), self.spec.objective.metric

        def study_of(shown: list[FrozenTrial]) -> Study:
            return self._view(shown).study(self.spec.name)

        drawn = draw(kind, trials, study_of, names, metric, self.spec.maximize)
        return drawn, len(trials), sum(trial.state.is_finished() for trial in trials)

    def _view(self, trials: list[FrozenTrial]) -> StorageView:
        return StorageView(self._storage, self._trials.study_id, trials)

    def _params(self, trial: FrozenTrial) -> Params:
        free = self._space.free()
        return {name: trial.params[name] if name in free else d for name, d in self._space.items()}  # type: ignore[misc]


def delete_search(storage: Storage, name: str, writing: Callable[[], Writing]) -> None:
    """Delete the study of this name and its trials in the storage. Does nothing when it is gone already."""
    with suppress(KeyError), writing():
        storage.delete_study(storage.get_study_id_from_name(name))
