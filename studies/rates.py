"""The hyperparameters of learning-rate schedules: which of them a space may hold together.

Specs are checked by them. The schedules themselves are the workers' (`trials/training/schedules.py`).
"""

from collections.abc import Mapping

from luthier.studies.documents import Path
from luthier.studies.space import Space

SCHEDULER_OF: Mapping[str, str] = {
    "power": "polynomial",
    "num_cycles": "cosine_with_restarts",
    "min_lr_rate": "cosine_with_min_lr",
}
"""Hyperparameter -> the only scheduler for which it has a meaning."""


def rate_problems(space: Space) -> list[tuple[Path, str]]:
    """Return the hyperparameters of a space that no schedule in it uses: each a path in the spec, and a sentence."""
    problems: list[tuple[Path, str]] = []
    for name, scheduler in SCHEDULER_OF.items():
        if name in space and not space.offers("scheduler", scheduler):
            text = (
                f"has a meaning for the scheduler {scheduler} alone; add that to space.scheduler, or leave {name} out"
            )
            problems.append((("space", name), text))
    if "warmup_steps" in space and "warmup_ratio" in space:
        text = "says the same as warmup_ratio, in steps in place of a share of them; leave one of the two out"
        problems.append((("space", "warmup_steps"), text))
    return problems
