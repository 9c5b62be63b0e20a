"""What a winner must reach to be a schedule's first champion, and what is said where it does not."""

from typing import Any

import pytest

from luthier.studies.first_champion import caveat, refusal
from luthier.studies.intervals import wilson
from luthier.studies.noise import Noise
from luthier.studies.promotion import Promote
from luthier.studies.results import Majority
from luthier.studies.semantics import FIRST_IS_EARNED
from luthier.studies.spec import StudySpec
from tests.support.specs import document

LOSS = {"metric": "loss", "direction": "minimize"}


def spec(semantics: int = FIRST_IS_EARNED, **changes: Any) -> StudySpec:
    return StudySpec.model_validate(document() | {"semantics": semantics} | changes)


def majority(**test: float | None) -> Majority:
    return Majority(label="ham", validation={}, test=test)


@pytest.mark.parametrize(
    ("objective", "score", "constant", "is_refused"),
    [
        (None, 0.45, 0.55, True),
        (None, 0.55, 0.55, True),
        (None, 0.56, 0.55, False),
        (LOSS, 0.7, 0.65, True),
        (LOSS, 0.6, 0.65, False),
        (None, None, 0.55, True),
        (LOSS, 0.6, None, False),
        ({"metric": "matthews", "direction": "maximize"}, 0.1, None, False),
        ({"metric": "matthews", "direction": "maximize"}, -0.1, None, True),
    ],
)
def test_it_must_beat_the_most_frequent_answer(
    objective: dict[str, str] | None, score: float | None, constant: float | None, is_refused: bool
) -> None:
    of = spec(**({"objective": objective} if objective else {}))
    metric = of.objective.metric
    text = refusal(of, Promote(), majority(**{metric: constant}), {metric: score})
    assert (text is not None) == is_refused
    if text is not None:
        assert text.startswith("Nothing is in use: the winner")
        assert text.endswith("The next run tries again.")
        assert score is None or f"{score:.4f}" in text


def test_the_sentence_names_both_scores_and_the_way_out() -> None:
    assert refusal(spec(), Promote(), majority(accuracy=0.55), {"accuracy": 0.45}) == (
        "Nothing is in use: the winner's accuracy on test is 0.4500, and always answering 'ham' alone has 0.5500. "
        "A first champion must beat that, or reach `promote.minimum` where the schedule sets one. "
        "The next run tries again."
    )


@pytest.mark.parametrize(
    ("minimum", "score", "is_refused"), [(0.4, 0.45, False), (0.45, 0.45, False), (0.5, 0.45, True), (0.5, None, True)]
)
@pytest.mark.parametrize("semantics", [1, FIRST_IS_EARNED])
def test_a_minimum_takes_its_place(minimum: float, score: float | None, is_refused: bool, semantics: int) -> None:
    text = refusal(spec(semantics), Promote(minimum=minimum), majority(accuracy=0.9), {"accuracy": score})
    assert (text is not None) == is_refused
    if text is not None:
        assert f"promote.minimum asks for {minimum:g}" in text


def test_of_a_loss_the_minimum_is_the_most() -> None:
    of = spec(objective=LOSS)
    assert refusal(of, Promote(minimum=0.5), None, {"loss": 0.4}) is None
    assert refusal(of, Promote(minimum=0.5), None, {"loss": 0.6}) is not None


def test_older_schedules_and_tasks_without_a_constant_answer_ask_for_nothing() -> None:
    assert refusal(spec(FIRST_IS_EARNED - 1), Promote(), majority(accuracy=0.9), {"accuracy": 0.1}) is None
    assert refusal(spec(), Promote(), None, {"accuracy": 0.1}) is None


def test_a_first_champion_within_the_noise_is_said_to_be() -> None:
    scores = {"accuracy": 0.6}
    near, far = (Noise(interval=wilson(0.6, units)) for units in (40, 4000))
    text = caveat(spec(), majority(accuracy=0.55), scores, near)
    assert text is not None
    assert text.startswith("Its accuracy of 0.6000 on test may be chance: the 95% interval 0.4")
    assert text.endswith(" holds the 0.5500 of always answering 'ham'.")
    for told in (
        caveat(spec(), majority(accuracy=0.55), scores, far),
        caveat(spec(), majority(accuracy=0.65), scores, near),
        caveat(spec(), majority(accuracy=None), scores, near),
        caveat(spec(), None, scores, near),
        caveat(spec(), majority(accuracy=0.55), scores, None),
    ):
        assert told is None
