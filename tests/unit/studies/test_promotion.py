"""The paired tests, against other implementations and by hand; what is promoted and what is not."""

import random
from typing import Any

import pytest
from scipy.stats import binomtest

from luthier.studies.paired_tests import mcnemar, randomization
from luthier.studies.promotion import Promote, PromotionDecision, judge
from luthier.studies.results import Comparison
from luthier.studies.strategy import Objective
from luthier.studies.tasks import TASKS


def comparison(**found: Any) -> Comparison:
    known = {"examples": 100, "left_out": 3, "units": 100, "independent": True, "gained": 0, "lost": 0}
    known |= {"champion": {"accuracy": 0.8, "loss": 0.5}, "challenger": {"accuracy": 0.8, "loss": 0.5}}
    known["predictions"] = {"name": "p", "sha256": "0" * 64, "bytes": 1}
    return Comparison.model_validate(known | found)


def judged(promote: dict[str, Any] | None = None, metric: str = "accuracy", **found: Any) -> PromotionDecision:
    objective = Objective.model_validate({"metric": metric})
    binary = TASKS["text-classification"].is_binary(metric)
    return judge(comparison(**found), objective, Promote.model_validate(promote or {}), binary)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (0, 1), (5, 0), (9, 2), (30, 15), (15, 30), (400, 380)])
def test_mcnemar_is_the_binomial_test_and_its_interval_agrees_with_it(gained: int, lost: int) -> None:
    found = mcnemar(gained, lost, 1000, 0.95)
    if gained + lost:
        theirs = binomtest(gained, gained + lost, 0.5, alternative="greater")
        assert found.p_value == pytest.approx(theirs.pvalue)
        low = theirs.proportion_ci(0.95, "exact").low
        assert found.interval[0] == pytest.approx((2 * low - 1) * (gained + lost) / 1000)
    low, high = found.interval
    assert low <= (gained - lost) / 1000 <= high
    assert (low > 0) == (found.p_value < 0.05)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(5, 0, 50, 0.95).p_value == pytest.approx(1 / 32)
    assert mcnemar(4, 1, 50, 0.95).p_value == pytest.approx(6 / 32)
    with pytest.raises(ValueError, match="no units"):
        mcnemar(0, 0, 0, 0.95)


def test_randomization_agrees_with_the_normal_test_where_both_hold() -> None:
    draw = random.Random(0)
    exchanged = [draw.gauss(0, 0.01) for _ in range(20_000)]
    found = randomization(0.02, exchanged, [0.02 + value for value in exchanged], 0.95)
    assert found.p_value == pytest.approx(0.0228, abs=0.003)  # two standard errors
    assert found.interval[0] == pytest.approx(0.02 - 1.645 * 0.01, abs=0.001)
    assert randomization(0.0, [0.0] * 99, [0.0] * 99, 0.95).p_value == 1
    assert randomization(1.0, [0.0] * 99, [1.0] * 99, 0.95).p_value == 0.01  # so many replicates cannot tell more
    with pytest.raises(ValueError, match="no replicates"):
        randomization(0.1, [], [], 0.95)


@pytest.mark.parametrize(
    ("found", "promote", "promoted", "says"),
    [
        ({"gained": 12, "lost": 2, "challenger": {"accuracy": 0.9}}, {}, True, "Promoted"),
        ({"gained": 2, "lost": 12, "challenger": {"accuracy": 0.7}}, {}, False, "may be chance"),
        ({"gained": 3, "lost": 2, "challenger": {"accuracy": 0.81}}, {}, False, "may be chance"),
        ({"gained": 12, "lost": 2, "challenger": {"accuracy": 0.9}}, {"margin": 0.1}, False, "margin"),
        ({"gained": 12, "lost": 2, "challenger": {"accuracy": 0.9}}, {"margin": 0.09}, True, "Promoted"),
        ({"gained": 12, "lost": 2, "challenger": {"accuracy": 0.9}}, {"confidence": 0.999}, False, "may be chance"),
        (
            {"examples": 0, "units": 0, "champion": {}, "challenger": {}},
            {},
            False,
            "every example of the test split is known",
        ),
        ({"challenger": {"accuracy": None}}, {}, False, "no finite accuracy"),
        ({"champion": {"accuracy": None}}, {}, True, "no finite accuracy"),
    ],
)
def test_what_is_promoted(found: dict[str, Any], promote: dict[str, Any], promoted: bool, says: str) -> None:
    decision = judged(promote, **found)
    assert decision.promoted is promoted
    assert says in decision.reason
    assert decision.excluded == 3


def test_a_metric_that_is_minimized_and_words_that_are_related_are_randomized() -> None:
    replicates = {"exchanged": [-0.02, 0.0, 0.02] * 30, "resampled": [0.09, 0.1, 0.11] * 30}
    decision = judged(metric="loss", challenger={"accuracy": 0.8, "loss": 0.4}, **replicates)
    assert decision.promoted
    assert decision.difference == pytest.approx(0.1)
    assert not decision.maximize
    assert decision.test is not None
    assert decision.test.name == "randomization"
    assert decision.test.interval == (0.09, 0.11)
    grouped = {"independent": False, "gained": 12, "lost": 2, "resampled": [0.0, 0.1, 0.2] * 30}
    decision = judged(**grouped, exchanged=[-0.1, 0.0, 0.1] * 30, challenger={"accuracy": 0.9})
    assert decision.test is not None
    assert decision.test.name == "randomization"
    assert not decision.promoted
