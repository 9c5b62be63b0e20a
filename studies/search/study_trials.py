"""A study's trials: stored in Optuna's database, and kept in memory so that reports are fast.

`search.py` keeps one `StudyTrials` for each study; every write to the storage is here, with its repetition in memory.
"""

import copy
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from luthier.studies.hyperparameters import Params
from luthier.studies.search.cost_aware import Key
from luthier.studies.search.distributions import distributions
from luthier.studies.search.storage import reading
from luthier.studies.space import Space

Writing = AbstractContextManager[Any]


class Misnumbered(RuntimeError):
    """Optuna gave a new trial another number than ours: trials of the study were deleted there."""


class Contradicted(RuntimeError):
    """Optuna knows another end of a trial than our rows: they are of another time, as after a restore of a back-up."""


class StudyTrials:
    """The trials of one study, by number. Safe to use from many threads.

    Reading the trials costs as much as all else that a search does. So they are read once, and each write of this
    process is repeated in memory. Trials are never changed in place: other threads may be reading them.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_name: str,
        space: Space,
        writing: Callable[[], Writing],
        forgotten: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """Read and write the trials of a study that exists.

        Args:
            storage: Where they are.
            study_name: The study's name.
            space: Its space, resolved.
            writing: Makes the lock that each write needs.
            forgotten: Returns the numbers of the trials that a user deleted; it is called whenever the storage is read.
        """
        self.study_name = study_name
        self.study_id = storage.get_study_id_from_name(study_name)
        self._storage = storage
        self._space = space
        self._writing = writing
        self._read_forgotten = forgotten
        self._forgotten: frozenset[int] = frozenset()
        self._keys: dict[int, Key] = {}  # by number; a trial's parameters never change
        self._trials: list[FrozenTrial] | None = None  # None: to be read
        self._dense = True
        self._lock = threading.RLock()

    def forget(self) -> None:
        """Read the storage at the next call: another process may have written to it."""
        with self._lock:
            self._trials = None

    def all(self) -> list[FrozenTrial]:
        """Return every trial, by number; where one is missing, those before it.

        One that a user deleted, which Optuna cannot drop, has failed and has no scores: samplers and pruners pass it
        over.
        """
        with self._lock:
            if self._trials is None:
                self._forgotten = frozenset(self._read_forgotten())
                stored = self.stored()
                trials = [trial for number, trial in enumerate(stored) if trial.number == number]
                self._trials = [_emptied(trial) if trial.number in self._forgotten else trial for trial in trials]
                self._dense = len(self._trials) == len(stored)
            return list(self._trials)

    def drop(self, number: int) -> None:
        """Pass over a trial from now on, which a user has just deleted."""
        with self._lock:
            if self._trials is not None and number < len(self._trials):
                self._forgotten |= {number}
                self._trials[number] = _emptied(self._trials[number])

    def remembered(self) -> list[FrozenTrial]:
        """Return every trial that no user deleted, by number."""
        with self._lock:
            return [trial for trial in self.all() if trial.number not in self._forgotten]

    def is_dense(self) -> bool:
        """Return whether no number is missing among the trials."""
        self.all()
        return self._dense

    def stored(self) -> list[FrozenTrial]:
        """Return the trials that the storage has, by number, also those after a missing one."""
        with reading():
            return list(self._storage.get_all_trials(self.study_id, deepcopy=False))

    def before(self, number: int) -> list[FrozenTrial]:
        """Return the trials that trial `number` is drawn after; more when it exists.

        Raises:
            ValueError: When one of them is missing.
        """
        trials = self.all()
        if number != len(trials):
            self.forget()
            trials = self.all()
        if number > len(trials):
            count = len(trials)
            raise ValueError(f"study {self.study_name} has {count} trials, so the next one is {count}, not {number}")
        return trials

    def get(self, number: int) -> FrozenTrial:
        """Return a trial. Raises LookupError."""
        trials = self.all()
        if number >= len(trials):
            self.forget()
            trials = self.all()
        if not 0 <= number < len(trials):
            raise LookupError(f"study {self.study_name} has no trial {number}; ask for it first")
        return trials[number]

    def keys(self, trials: list[FrozenTrial], deleted: bool = False) -> dict[int, Key]:
        """Return the key of each configuration by trial number; those of deleted trials where they are asked for.

        `trials` are all that `all` or `before` returned.
        """
        with self._lock:
            for trial in trials[len(self._keys) :]:
                self._keys[trial.number] = self._space.key(trial.params)
            return {number: key for number, key in self._keys.items() if deleted or number not in self._forgotten}

    def create(self, params: Params, notes: dict[str, Any]) -> None:
        """Store a new running trial, whole, in one transaction; `notes` are its system attributes.

        Raises:
            Misnumbered: Its number is not the next one.
        """
        trial = create_trial(
            state=TrialState.RUNNING,
            params={name: params[name] for name in self._space.free()},
            distributions=distributions(self._space),
            system_attrs=notes,
        )
        trial.datetime_start = datetime.now()  # naive, as Optuna keeps them
        self.append(trial)

    def append(self, trial: FrozenTrial) -> None:
        """Store a whole trial, in any state, as the next one, in one transaction. Raises Misnumbered."""
        trial.number = len(self.all())
        with self._writing():
            trial_id = self._storage.create_new_trial(self.study_id, template_trial=trial)
        try:
            is_next = self._id(trial) == trial_id
        except KeyError:
            is_next = False
        if not is_next:
            self.forget()
            raise Misnumbered(f"Optuna has lost trials of {self.study_name}: the next one is not {trial.number} there")
        with self._lock:
            if self._trials is not None and len(self._trials) == trial.number:
                self._trials.append(trial)

    def start_over(self) -> None:
        """Delete the study's trials in the storage; it has a new id there."""
        directions = self._storage.get_study_directions(self.study_id)
        with self._lock, self._writing():
            with suppress(KeyError):
                self._storage.delete_study(self.study_id)
            self.study_id = self._storage.create_new_study(directions, self.study_name)
            self._trials, self._dense, self._keys = [], True, {}

    def store_report(
        self, trial: FrozenTrial, step: int, value: float, before: dict[str, Any], after: dict[str, Any]
    ) -> bool:
        """Store a score, and system attributes before and after it; return False if the trial has ended."""
        try:
            with self._writing():
                trial_id = self._id(trial)
                self._note(trial_id, before)
                self._storage.set_trial_intermediate_value(trial_id, step, value)
                self._note(trial_id, after)
        except UpdateFinishedTrialError:
            self.forget()
            return False
        self._change(
            trial,
            intermediate_values={**trial.intermediate_values, step: value},
            system_attrs=trial.system_attrs | after | before,
        )
        return True

    def store_end(
        self, trial: FrozenTrial, state: TrialState, values: list[float] | None, notes: dict[str, Any]
    ) -> None:
        """Store how a trial ended, and first some system attributes. Does nothing when it has ended already."""
        try:
            with self._writing():
                trial_id = self._id(trial)
                self._note(trial_id, notes)
                self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            self.forget()
            return
        attributes = trial.system_attrs | notes
        self._change(trial, state=state, values=values, system_attrs=attributes, datetime_complete=datetime.now())

    def _id(self, trial: FrozenTrial) -> int:
        """Return the storage's id of a trial, which it remembers for all trials that it has read or created."""
        return self._storage.get_trial_id_from_study_id_trial_number(self.study_id, trial.number)

    def _note(self, trial_id: int, notes: dict[str, Any]) -> None:
        for key, note in notes.items():
            self._storage.set_trial_system_attr(trial_id, key, note)

    def _change(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Repeat in memory what was stored about a trial: these attributes replace its own."""
        changed = copy.copy(trial)
        for name, value in attributes.items():
            setattr(changed, name, value)
        with self._lock:
            if self._trials is not None and trial.number < len(self._trials):
                self._trials[trial.number] = changed


def _emptied(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that has ended as one that failed without a score; one that has not, as it is."""
    if not trial.state.is_finished():
        return trial
    emptied = copy.copy(trial)
    emptied.state, emptied.values = TrialState.FAIL, None
    emptied.intermediate_values, emptied.system_attrs = {}, {}
    return emptied
