"""A plan as the command line prints it."""

import pytest

from luthier.service.cli.plan import prunable
from luthier.service.schemas import PrunerPlan


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (PrunerPlan(name="median", trials=16, prunable_trials=11), "at most 11 of 16 (median)"),
        (PrunerPlan(name="none", trials=16, prunable_trials=0), "none of 16 (none)"),
        (PrunerPlan(name="none", trials=None, prunable_trials=0), "none (none)"),
        (PrunerPlan(name="halving"), "any but the first (halving)"),
    ],
)
def test_how_many_trials_the_pruner_could_end_is_said_in_words(plan: PrunerPlan, text: str) -> None:
    assert prunable(plan) == text
