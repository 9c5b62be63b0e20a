"""A spec to start from, and its changes."""

import copy
from typing import Any

from luthier.studies.spec import StudySpec

SPACE = {
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "batch_size": [8, 16, 32],
    "epochs": {"low": 1, "high": 5},
    "weight_decay": {"low": 0.0, "high": 0.3},
    "freeze_depth": {"low": 0, "high": 6},
}
DOCUMENT: dict[str, Any] = {
    "name": "sms-spam",
    "task": "text-classification",
    "model": "models/minilm",
    "dataset": {"source": "data/sms.csv", "columns": {"text": "message"}},
    "space": SPACE,
    "budget": {"trials": 30},
}
MISSING = ...  # as a value: the key is taken out


def document(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return DOCUMENT with values at dotted paths, as {"budget.trials": 3}."""
    changed = copy.deepcopy(DOCUMENT)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        at = changed
        for key in parents:
            at = at.setdefault(key, {})
        if value is MISSING:
            del at[last]
        else:
            at[last] = value
    return changed


def spec(**changes: Any) -> StudySpec:
    """Return the spec with top-level keys replaced."""
    return StudySpec.model_validate({**document(), **changes})
