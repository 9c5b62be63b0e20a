"""Linear models are solved to scikit-learn's optimum: the same objective, penalty, coefficients and probabilities."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from luthier.trials.training.linear_solver import PENALTIES, Design, Problem, choose_and_solve, solve


def blobs(rows: int, features: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of very different spread around a centre for each class, far from 0, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centres = torch.randn(classes, features, generator=generator)
    points = centres[labels] + 2 * torch.randn(rows, features, generator=generator)
    return points @ torch.diag(torch.logspace(-1.5, 1, features)) + 5, labels


def fitted(values: torch.Tensor, labels: torch.Tensor, c: float, balanced: bool = False) -> LogisticRegression:
    weights = "balanced" if balanced else None
    solver = LogisticRegression(C=c, tol=1e-12, max_iter=10_000, solver="newton-cholesky", class_weight=weights)
    return solver.fit(values.double().numpy(), labels.numpy())


@pytest.mark.parametrize(
    ("rows", "features", "classes", "c"), [(200, 12, 3, 1.0), (150, 10, 2, 1.0), (150, 10, 2, 0.01), (40, 60, 4, 0.01)]
)
def test_classes_are_solved_as_by_scikit_learn(rows: int, features: int, classes: int, c: float) -> None:
    values, labels = blobs(rows, features, classes)
    found = solve(Design(values, standard=False), Problem("classes", labels, classes), 1 / c)
    reference = fitted(values, labels, c)
    weight = found.weight if classes > 2 else found.weight[1:] - found.weight[:1]
    assert weight.numpy() == pytest.approx(reference.coef_, abs=1e-5)
    probabilities = found(values).softmax(1).numpy()
    assert probabilities == pytest.approx(reference.predict_proba(values.double().numpy()), abs=1e-6)


def test_classes_can_be_balanced() -> None:
    values, labels = blobs(120, 6, 3)
    labels[:60] = 0
    counts = torch.bincount(labels).double()
    problem = Problem("classes", labels, 3, len(labels) / (3 * counts))
    found = solve(Design(values, standard=False), problem, 1.0)
    assert found.weight.numpy() == pytest.approx(fitted(values, labels, 1.0, balanced=True).coef_, abs=1e-5)


def test_each_label_of_a_set_is_a_logistic_regression_of_its_own() -> None:
    values, labels = blobs(160, 8, 4)
    marks = torch.stack([labels == 0, labels > 1, torch.arange(160) % 3 == 0], 1)
    found = solve(Design(values, standard=False), Problem("label_sets", marks, 3), 0.5)
    for k in range(3):
        reference = fitted(values, marks[:, k], 2.0)
        assert found.weight[k].numpy() == pytest.approx(reference.coef_[0], abs=1e-5)
        given = reference.predict_proba(values.double().numpy())[:, 1]
        assert found(values)[:, k].sigmoid().numpy() == pytest.approx(given, abs=1e-6)


@pytest.mark.parametrize(("rows", "features"), [(80, 9), (30, 50)])
def test_numbers_are_solved_as_by_ridge_regression(rows: int, features: int) -> None:
    values, labels = blobs(rows, features, 5)
    found = solve(Design(values, standard=False), Problem("numbers", labels.double(), 1), 3.0)
    reference = Ridge(alpha=3.0).fit(values.double().numpy(), labels.double().numpy())
    assert found.weight[0].numpy() == pytest.approx(reference.coef_, abs=1e-9)
    assert float(found.bias) == pytest.approx(reference.intercept_, abs=1e-8)


def test_scaled_features_are_solved_and_unscaled_again() -> None:
    values, labels = blobs(90, 7, 3)
    values[:, 3] = 4.0  # a feature that never changes
    mean, deviation = values.mean(0), values.std(0, unbiased=False)
    deviation[3] = 1.0
    reference = fitted((values - mean) / deviation, labels, 0.1)
    found = solve(Design(values), Problem("classes", labels, 3), 10.0)
    expected = reference.predict_proba(((values - mean) / deviation).double().numpy())
    assert found(values).softmax(1).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("noise", "expected"), [(0.0, PENALTIES[-1]), (1.0, PENALTIES[0])])
def test_the_penalty_is_chosen_on_held_out_training_units(noise: float, expected: float) -> None:
    values, labels = blobs(400, 10, 2, seed=3)
    labels = (values[:, 9] > 5).long()
    if noise:  # labels that nothing tells: the strongest penalty is the best
        labels = torch.randint(2, (400,), generator=torch.Generator().manual_seed(0))
    assert choose_and_solve(Design(values), Problem("classes", labels, 2))[0] == expected
