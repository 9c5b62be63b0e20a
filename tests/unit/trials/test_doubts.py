"""Confident learning names the rows whose label was changed, and few others; a blind probe accuses none."""

import numpy
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from luthier.trials.jobs import doubts
from luthier.trials.jobs.linear_probe import FOLDS, held_out_probabilities


def blobs(rows: int, classes: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points around a centre for each class, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    labels = labels[torch.randperm(rows, generator=generator)]
    centres = 3 * torch.randn(classes, 8, generator=generator)
    return centres[labels] + spread * torch.randn(rows, 8, generator=generator), labels


def test_held_out_probabilities_are_those_of_a_logistic_regression() -> None:
    values, labels = blobs(200, 3, 2.5, seed=1)
    found = held_out_probabilities(values, labels, 3)
    fold = numpy.arange(200) % FOLDS
    for k in range(FOLDS):
        train, held = values[fold != k].numpy(), values[fold == k].numpy()
        mean, deviation = train.mean(0), train.std(0, ddof=1)
        probe = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit((train - mean) / deviation, labels[fold != k])
        expected = probe.predict_proba((held - mean) / deviation)
        assert found[fold == k].numpy() == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("classes", "changed"), [(2, 8), (4, 20), (3, 0)])
def test_changed_labels_are_found(classes: int, changed: int) -> None:
    values, true = blobs(300, classes, 0.5, seed=classes)
    labels = true.clone()
    rows = torch.arange(changed) * 7
    labels[rows] = (labels[rows] + 1) % classes
    doubtful = doubts.confident_errors(held_out_probabilities(values, labels, classes), labels).tolist()
    assert len(set(rows.tolist()) & set(doubtful)) >= 0.7 * changed
    assert len(doubtful) <= changed + 6
    assert set(doubtful[: changed // 2]) <= set(rows.tolist()), "the most doubtful come first"


def test_rare_classes_are_in_no_doubt() -> None:
    values, labels = blobs(200, 2, 0.5, seed=5)
    labels[:3] = 2
    doubtful = doubts.confident_errors(held_out_probabilities(values, labels, 3), labels).tolist()
    assert not set(doubtful) & {0, 1, 2}


def test_labels_without_meaning_are_not_told() -> None:
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn(300, 8, generator=generator), torch.randint(2, (300,), generator=generator)
    assert doubts._finding({"mean": values}, labels, range(300), ["a", "b"], str) == []


def test_the_finding_names_the_rows() -> None:
    values, labels = blobs(300, 2, 0.3, seed=2)
    labels[10] = 1 - labels[10]
    (finding,) = doubts._finding(
        {"first": torch.randn_like(values), "mean": values},
        labels,
        range(50, 350),
        ["a", "b"],
        lambda row: f"the text of {row}",
    )
    assert finding.code == "doubtful-labels"
    assert finding.count >= 1
    assert finding.examples[0].startswith("training row 61 (the text of 60): ")
