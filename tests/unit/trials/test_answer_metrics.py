"""Scores of numbers and of sets of labels are those of scipy and scikit-learn."""

import math
import warnings

import numpy
import pytest
import torch

from luthier.trials.tasks.label_set_metrics import best_cut, macro_f1, mean_average_precision, micro_f1
from luthier.trials.tasks.number_metrics import mean_error, pearson, r2, ranks, spearman

CLOSE = 1e-9


@pytest.mark.parametrize(
    ("rows", "seed", "scale", "shift"), [(2, 0, 1, 0), (50, 1, 1e6, 0), (400, 2, 1e-6, 3), (30, 3, 1, 1e5)]
)
def test_scores_of_numbers_equal_those_of_scipy_and_scikit_learn(
    rows: int, seed: int, scale: float, shift: float
) -> None:
    from scipy import stats
    from sklearn import metrics

    draw = numpy.random.default_rng(seed)
    true = scale * draw.normal(size=rows).round(1) + shift  # rounded: some are equal
    said = true + scale * draw.normal(size=rows).round(1)
    one, other = torch.tensor(said), torch.tensor(true)
    assert pearson(one, other) == pytest.approx(stats.pearsonr(said, true).statistic, abs=CLOSE)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(said, true).statistic, abs=CLOSE)
    assert mean_error(one, other, 2) == pytest.approx(metrics.mean_squared_error(true, said), rel=CLOSE)
    assert mean_error(one, other, 1) == pytest.approx(metrics.mean_absolute_error(true, said), rel=CLOSE)
    assert r2(one, other) == pytest.approx(metrics.r2_score(true, said), rel=1e-7)
    assert ranks(one).tolist() == stats.rankdata(said).tolist()


def test_what_is_undefined_is_none() -> None:
    same, others = torch.full((4,), 0.1, dtype=torch.double), torch.arange(4, dtype=torch.double)
    assert pearson(same, others) is None
    assert spearman(others, same) is None
    assert r2(others, same) is None
    assert r2(same, others) is not None
    broken = torch.tensor([math.nan, 1, 2, 3], dtype=torch.double)
    for score in (pearson, spearman, r2):
        assert score(broken, others) is None
    assert mean_error(broken, others, 2) is None
    huge = others * 1e200
    assert pearson(huge, huge) == pytest.approx(1.0), "squares of large numbers are no obstacle"


@pytest.mark.parametrize(("rows", "labels", "seed"), [(40, 2, 0), (60, 7, 1), (200, 25, 2)])
def test_scores_of_label_sets_equal_scikit_learns(rows: int, labels: int, seed: int) -> None:
    from sklearn import metrics

    draw = numpy.random.default_rng(seed)
    true = draw.random((rows, labels)) < 0.2
    true[0] = True  # each label occurs
    scores = (draw.normal(size=(rows, labels)) + true).round(1)
    said = scores > 0.5
    one, other = torch.tensor(said), torch.tensor(true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that are never said
        assert micro_f1(one, other) == pytest.approx(metrics.f1_score(true, said, average="micro"), abs=CLOSE)
        assert macro_f1(one, other) == pytest.approx(metrics.f1_score(true, said, average="macro"), abs=CLOSE)
    wanted = metrics.average_precision_score(true, scores, average="macro")
    assert mean_average_precision(torch.tensor(scores), other) == pytest.approx(wanted, abs=CLOSE)


def test_a_label_that_no_row_has_has_no_average_precision() -> None:
    true = torch.tensor([[True, False], [False, False]])
    assert mean_average_precision(torch.tensor([[2.0, 0.0], [1.0, 3.0]]), true) == 1.0
    assert mean_average_precision(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool)) is None
    assert mean_average_precision(torch.full((2, 2), math.nan), true) is None
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert micro_f1(nothing, nothing) == macro_f1(nothing, nothing) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_has_a_higher_micro_f1(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(30, 4, generator=draw, dtype=torch.double).round(decimals=1)
    true = scores + torch.randn(30, 4, generator=draw) > 1
    cut = best_cut(scores, true)
    assert cut is not None
    cuts = [float(scores.min()) - 1, *((scores.unique() + 0.05).tolist())]
    assert micro_f1(scores > cut, true) == pytest.approx(max(micro_f1(scores > other, true) for other in cuts))
    assert float((scores - cut).abs().min()) > 0.01, "no score is at the cut"


def test_without_any_label_there_is_no_cut() -> None:
    assert best_cut(torch.randn(5, 2), torch.zeros(5, 2, dtype=torch.bool)) is None
