"""The hyperparameters of learning-rate schedules: which of them a space may hold together.

Specs are checked by them. The schedules themselves are the workers' (`trials/training/schedules.py`).
"""

from luthier.studies.documents import Path
from luthier.studies.space import Space


def rate_problems(space: Space) -> list[tuple[Path, str]]:
    """Return the hyperparameters of a space that say the same as another: each a path in the spec, and a sentence."""
    problems: list[tuple[Path, str]] = []
    if "warmup_steps" in space and "warmup_ratio" in space:
        text = "says the same as warmup_ratio, in steps in place of a share of them; leave one of the two out"
        problems.append((("space", "warmup_steps"), text))
    return problems
