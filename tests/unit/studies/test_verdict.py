"""The verdict on a winner that is no better than always giving the most frequent answer."""

from typing import Any

import pytest

from luthier.studies.results import Majority
from luthier.studies.spec import StudySpec
from luthier.studies.verdict import no_better
from tests.support.specs import document

MAJORITY = Majority(
    label="ham",
    validation={"accuracy": 0.97, "auc": None, "loss": 0.13},
    test={"accuracy": 0.96, "auc": 0.5, "loss": 0.14},
)


@pytest.mark.parametrize(
    ("metric", "value", "test", "told"),
    [
        ("accuracy", 0.98, {"accuracy": 0.97}, None),
        ("accuracy", 0.98, None, None),
        ("accuracy", 0.97, {"accuracy": 0.97}, "on validation its accuracy is 0.9700, and that alone has 0.9700"),
        ("accuracy", 0.98, {"accuracy": 0.96}, "on test its accuracy is 0.9600, and that alone has 0.9600"),
        ("accuracy", 0.98, {"accuracy": None}, None),
        ("auc", 0.4, {"auc": 0.6}, None),
        ("auc", 0.8, {"auc": 0.5}, "on test its auc is 0.5000"),
        ("loss", 0.12, {"loss": 0.13}, None),
        ("loss", 0.13, {"loss": 0.15}, "0.1300; on test its loss is 0.1500, and that alone has 0.1400"),
    ],
)
def test_a_winner_is_compared_in_its_objective(
    metric: str, value: float, test: dict[str, Any] | None, told: str | None
) -> None:
    objective = {"metric": metric, "direction": "minimize" if metric == "loss" else "maximize"}
    spec = StudySpec.model_validate(document({"objective": objective}))
    said = no_better(spec, MAJORITY, value, test)
    if told is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith("The winner is no better than always answering 'ham': on ")
        assert told in said


def test_without_a_test_split_only_validation_counts() -> None:
    spec = StudySpec.model_validate(document())
    alone = MAJORITY.model_copy(update={"test": None})
    assert no_better(spec, alone, 0.98, None) is None
    assert "on test" not in (no_better(spec, alone, 0.5, None) or "")
    assert no_better(spec, alone, 0.5, None)
