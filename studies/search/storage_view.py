"""An Optuna storage as a sampler or pruner sees it during one decision: read once, never written.

`drawing.py` and `search.py` make one for each decision. A test checks that Optuna needs no more of a storage.
"""

from collections.abc import Container
from typing import Any, cast

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class StorageView:
    """A study's trials as they are now, and the notes that a sampler or pruner takes during one decision.

    Notes are kept in `notes`, so that the caller can store them together with the decision. Everything else goes to
    the storage. Not safe to share between threads: make one for each decision.
    """

    def __init__(self, storage: BaseStorage, study_id: int, trials: list[FrozenTrial]) -> None:
        """Show these trials in place of the storage's."""
        self._storage = storage
        self._study_id = study_id
        self._trials = trials
        self.notes: dict[str, Any] = {}  # a trial's system attributes

    def __getattr__(self, name: str) -> Any:
        """Return what the storage has under this name."""
        return getattr(self._storage, name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials that are shown, by number."""
        return self._trials

    def among(self, trials: list[FrozenTrial]) -> "StorageView":
        """Return a view of fewer trials, which takes its notes in this one."""
        fewer = StorageView(self._storage, self._study_id, trials)
        fewer.notes = self.notes
        return fewer

    def study(self, name: str) -> Study:
        """Return the study of this name over this view."""
        storage = cast(BaseStorage, self)
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler(), pruner=NopPruner())

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the study's id without a query."""
        return self._study_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials in these states, by number. They are never copied: neither caller changes them."""
        return [t for t in self._trials if states is None or t.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Take a note about the trial in question."""
        self.notes[key] = value
