"""Cells of a file of predictions for tasks with labels: the probability of each, or of the likeliest."""

from collections.abc import Sequence

from luthier.trials.tasks.export import PREDICTION, SCORE, Cell, as_list, shown

MOST_COLUMNS = 100
"""The most labels that get a column each."""
LIKELIEST = 5
"""The labels that are told of a row where there are more."""


def label_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of answers that are labels: one for each label, or `scores` for the likeliest of many."""
    if len(names) > MOST_COLUMNS:
        return (PREDICTION, SCORE, "scores")
    return (PREDICTION, SCORE, *(f"{SCORE}_{name}" for name in names))


def mean_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the mean probability of each label; none where there are too many."""
    return tuple(f"{SCORE}_{name}" for name in names) if len(names) <= MOST_COLUMNS else ()


def label_cells(names: Sequence[str], probabilities: Sequence[float], score: float) -> list[Cell]:
    """Return the cells of a row behind its answer: the score of that, and the probabilities of the labels.

    Args:
        names: The labels, by class id.
        probabilities: Of each.
        score: How sure the answer is, from 0 to 1.
    """
    if len(names) <= MOST_COLUMNS:
        return [shown(score), *map(shown, probabilities)]
    order = sorted(range(len(names)), key=lambda label: -probabilities[label])[:LIKELIEST]
    return [shown(score), as_list([[names[label], shown(probabilities[label])] for label in order])]
