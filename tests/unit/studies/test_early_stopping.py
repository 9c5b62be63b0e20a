"""Early stopping: at which evaluation a trial ends, which specs may ask for it, and what pruners make of it."""

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.early_stopping import EarlyStopping, Standstill
from luthier.studies.schedule import parse_schedule
from luthier.studies.search.storage import Storage
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.searches import start, train
from tests.support.specs import SPACE, document

NINE_EPOCHS = SPACE | {"epochs": 9}


def parsed(changes: dict[str, Any]) -> StudySpec:
    """Return the spec of a user with values at dotted paths."""
    return parse_spec(json.dumps(document(changes)))


def ended(rule: EarlyStopping, scores: list[float | None], maximize: bool = True) -> int | None:
    """Return the evaluation at which a trial with these scores ends early, told one score after another."""
    standstill = Standstill()
    for step, score in enumerate(scores, start=1):
        standstill = standstill.after(score, rule, maximize)
        if standstill.is_over(rule):
            return step
    return None


@pytest.mark.parametrize(
    ("patience", "min_delta", "scores", "step"),
    [
        (1, 0.0, [0.5, 0.5], 2),  # equal is no better
        (2, 0.0, [0.5, 0.4, 0.5], 3),
        (2, 0.0, [0.5, 0.4, 0.6, 0.6, 0.6], 5),  # a better score starts the count again
        (2, 0.0, [0.1, 0.2, 0.3, 0.4], None),
        (1, 0.125, [0.5, 0.625], 2),  # by no more than min_delta
        (2, 0.125, [0.5, 0.5625, 0.6875, 0.75, 0.8125], 5),  # 0.6875 is better than 0.5, not than 0.5625
        (3, 0.125, [0.5, 0.5625, 0.625, 0.6875, 0.75], None),  # small steps add up
        (2, 0.0, [None, None, None, 0.5, None, None], 6),  # nothing is counted before the first score
        (2, 0.0, [None, math.nan, 0.5, math.nan, 0.6, None, math.inf], 7),
        (2, 0.0, [None] * 9, None),
    ],
)
def test_a_trial_ends_at_the_evaluation_that_is_one_too_many(
    patience: int, min_delta: float, scores: list[float | None], step: int | None
) -> None:
    rule = EarlyStopping(patience=patience, min_delta=min_delta)
    assert ended(rule, scores) == step
    losses = [None if score is None else -score for score in scores]
    assert ended(rule, losses, maximize=False) == step
    for end in range(1, len(scores) + 1):  # the service sees all that are numbers, by their step
        known = {n: s for n, s in enumerate(scores[:end], start=1) if s is not None and math.isfinite(s)}
        if end in known:
            assert rule.ends(known, maximize=True) == (end == step)
    assert not rule.ends({}, maximize=True)


def test_its_defaults_and_bounds() -> None:
    assert parsed({}).early_stopping is None
    spec = parsed({"early_stopping": {}, "space.epochs": 9})
    assert spec.early_stopping == EarlyStopping(patience=2, min_delta=0.0)
    properties = spec.model_json_schema()["$defs"]["EarlyStopping"]["properties"]
    assert (properties["patience"]["minimum"], properties["patience"]["maximum"]) == (1, 10_000)
    assert properties["min_delta"]["minimum"] == 0


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"early_stopping.patience": 0}, "early_stopping.patience", "greater than or equal to 1"),
        ({"early_stopping.patience": 1.5}, "early_stopping.patience", "valid integer"),
        ({"early_stopping.min_delta": -0.1}, "early_stopping.min_delta", "greater than or equal to 0"),
        ({"early_stopping.min_delta": math.nan}, "early_stopping.min_delta", "finite"),
        ({"early_stopping.delta": 1}, "early_stopping.delta", "Extra inputs"),
        ({"objective.measurement": "last"}, "early_stopping", "no meaning with .*last.*; take measurement: best"),
        ({"space.epochs": [1, 4]}, "early_stopping.patience", "longest has 4 evaluations; set it to at most 2, raise"),
        ({"space.epochs": 1}, "early_stopping.patience", "longest has 1 evaluation; raise space.epochs or"),
        ({"pruner": {"name": "patient", "patience": 2}}, "early_stopping.patience", "set it to at least 4, or"),
    ],
)
def test_what_would_end_no_trial_or_score_it_wrongly_is_refused(changes: dict[str, Any], path: str, words: str) -> None:
    rule = {"early_stopping": {"patience": 3}, "space.epochs": [2, 9], "pruner": {"name": "none"}}
    assert parsed(rule).early_stopping == EarlyStopping(patience=3)
    with pytest.raises(ValidationError, match=words) as refused:
        parsed(rule | changes)
    assert [".".join(map(str, error["loc"])) for error in refused.value.errors()] == [path]


def test_evaluations_count_not_epochs() -> None:
    spec = {"early_stopping": {"patience": 3}, "space.epochs": 2, "pruner": {"name": "none"}}
    with pytest.raises(ValidationError, match="longest has 2 evaluations"):
        parsed(spec)
    assert parsed(spec | {"evaluations_per_epoch": 3}).max_steps == 6


def test_a_pruner_ends_no_trial_at_the_evaluation_at_which_it_ends_itself(sqlite: Storage) -> None:
    """Its best model may win, and nothing would be saved."""
    pruned = {}
    for name, rule in (("with", {"patience": 2}), ("without", None)):
        pruner = {"name": "median", "startup_trials": 2, "warmup_steps": 3}
        search = start(sqlite, name=name, space=NINE_EPOCHS, pruner=pruner, early_stopping=rule)
        for number in range(3):
            train(search, number, [0.5 + 0.01 * step for step in range(9)])
        pruned[name] = train(search, 3, [0.1, 0.2, 0.15, 0.16])
    assert pruned == {"with": None, "without": 4}


def test_a_schedule_that_begins_to_stop_early_has_changed() -> None:
    study = {key: value for key, value in document({"space.epochs": 9}).items() if key != "name"}
    plain, stopping = (
        parse_schedule(json.dumps({"name": "nightly", "cron": "0 3 * * *", "study": study | changes}))
        for changes in ({}, {"early_stopping": {"patience": 3}})
    )
    assert plain.template_digest != stopping.template_digest
    assert not plain.says_the_same(stopping)
