"""Presets: what `preset: quick`, `good` or `best` stands for, as the space and the budget that a spec leaves out.

They follow the task's baseline, the configuration that a practitioner would try first. `spec_defaults.py` fills them
in, and the spec keeps what they stood for: a stored study never changes with them.
"""

from typing import Any, Literal

from luthier.studies.hyperparameters import AUTO, Params
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS

PresetName = Literal["quick", "good", "best"]
PRESETS: tuple[PresetName, ...] = ("quick", "good", "best")
TRIALS = {"quick": 8, "good": 30, "best": 80}
RATE_FACTOR = {"quick": 4, "good": 10, "best": 10}
"""The learning rates go from the baseline's over this factor to the baseline's times it."""
WEIGHT_DECAY_HIGH, WARMUP_HIGH, LAYER_DECAY_LOW = 0.3, 0.2, 0.7
_ANY = next(iter(TASKS.values()))  # stands for an unknown task, until its own key refuses it
REPETITIONS = {"candidates": 3, "seeds": 3}
FILLED = ("space", "budget", "confirm")
"""Keys of a spec that a preset may fill in."""


def fill_preset(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a raw spec with what its preset stands for in each key that it leaves out.

    A key that is written is left as it is, whole: so a stored spec, which has them all, is read as it was. A space or a
    budget of null counts as left out; `confirm: null` is a choice, as without a preset.

    Args:
        raw: What a user wrote; without a preset it is returned as it is.
    """
    named = raw.get("preset")
    task = raw.get("task") if named is not None else None
    if not isinstance(task, str):
        return raw
    # An unknown one is refused, by its own field: until then it stands for another, so that nothing else is told.
    name: PresetName = next((known for known in PRESETS if known == named), "good")
    written = {key: value for key, value in raw.items() if key not in ("space", "budget") or value is not None}
    return preset(name, TASKS.get(task, _ANY)) | written


def preset(name: PresetName, task: Task) -> dict[str, Any]:
    """Return the keys of a spec that a preset stands for.

    quick: a first answer; the rates nearest to the baseline's. good: a search that most studies need. best: more
    hyperparameters and trials, and the best configurations repeated on fresh seeds, so that no lucky run wins.

    Args:
        name: The preset.
        task: The study's.
    """
    filled: dict[str, Any] = {"space": _space(name, task), "budget": {"trials": TRIALS[name]}}
    return filled | ({"confirm": dict(REPETITIONS)} if name == "best" else {})


def _space(name: PresetName, task: Task) -> dict[str, Any]:
    baseline: Params = task.baseline
    rate, batch, epochs = float(baseline["learning_rate"]), int(baseline["batch_size"]), int(baseline["epochs"])
    factor = RATE_FACTOR[name]
    space: dict[str, Any] = {
        "learning_rate": {"low": _rounded(rate / factor), "high": _rounded(rate * factor), "log": True},
        "batch_size": [batch // 2, batch] if name == "quick" else [batch // 2, batch, batch * 2],
        "epochs": {"low": max(1, epochs // 3), "high": epochs if name == "quick" else epochs * 2},
        "freeze_depth": {"low": 0, "high": AUTO},
    }
    if name != "quick":
        space["weight_decay"] = {"low": 0.0, "high": WEIGHT_DECAY_HIGH}
        space["warmup_ratio"] = {"low": 0.0, "high": WARMUP_HIGH}
    if name == "best":
        space["scheduler"] = ["linear", "cosine"]
        space["layer_decay"] = {"low": LAYER_DECAY_LOW, "high": 1.0}
    return {key: dimension for key, dimension in space.items() if key not in task.refuses}


def _rounded(rate: float) -> float:
    """Return a rate with three digits, as a person would write it."""
    return float(f"{rate:.3g}")
