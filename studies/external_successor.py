"""Old trials in a new external study, whose names and values mean what its user's own trainer makes of them.

The service asks here where `successor.py` decides for all other studies. Nothing is read or written here.
"""

import json
from typing import Any

from pydantic import ValidationError

from luthier.studies.hyperparameters import Params
from luthier.studies.old_trials import OldTrial
from luthier.studies.space import Space
from luthier.studies.successor import Successor

_SAME = (("objective", "its objective"), ("steps", "its steps"))
"""Keys of an external spec that decide what a trial's score is, and their names in a sentence; what else does, the
user's own trainer and its data, Luthier does not know."""


class ExternalSuccessor(Successor):
    """A new external study, and where its old trials come from."""

    def difference(self) -> str | None:
        """Return what differs between the two studies, so that no score of the old one holds in the new one."""
        if self.source is None:
            return super().difference()
        before = self.source.spec
        differing = [words for name, words in _SAME if getattr(before, name) != getattr(self.spec, name)]
        return f"{before.name} was another study: {', '.join(differing)} differed." if differing else None

    def _carried(self, trial: OldTrial) -> Params | None:
        """Return a trial's configuration where it lies in today's space, which has the same names; else None."""
        space = self._space
        if set(trial.params) != set(space):
            return None
        try:
            return space.check(trial.params)
        except ValidationError:
            return None

    def _fitted(self, trial: OldTrial, space: Space) -> tuple[Params | None, str]:
        """Return a configuration moved into today's space, None where it does not fit; and the changes in words."""
        moved = space.clip({name: value for name, value in trial.params.items() if name in space})
        changes = []
        for name, value in moved.items():
            if name not in trial.params:
                changes.append(f"{name} is new: {_shown(value)}")
            elif not _lies_in(space, name, trial.params[name]):
                old = _shown(trial.params[name])
                if isinstance(space[name], tuple) or isinstance(trial.params[name], str | bool):
                    return None, f"{name} {old} is not offered any more"
                changes.append(f"{name} {old} became {_shown(value)}")
        changes += [f"{name} is not searched any more" for name in trial.params if name not in space]
        return moved, "; ".join(changes)


def _lies_in(space: Space, name: str, value: Any) -> bool:
    try:
        space.check({name: value}, partial=True)
    except ValidationError:
        return False
    return True


def _shown(value: Any) -> str:
    """Return a value in a sentence: a number in few digits, a word as it is."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool) else f"{value:g}"
