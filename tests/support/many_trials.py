"""Thousands of trials that have ended: made up in memory, or written into Optuna's tables and ours at once."""

import math
import random
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import AssignmentKind
from luthier.studies.search.distributions import distributions
from tests.support.harness import Running

START = datetime(2026, 11, 26)


def score(params: dict[str, Any], noise: random.Random) -> float:
    """Return a score that is best near a learning rate of 1e-4, and otherwise by chance."""
    return 0.5 + 0.3 * math.exp(-((math.log10(params.get("learning_rate", 1e-4)) + 4) ** 2)) + noise.random() / 10


def made_up(searched: dict[str, BaseDistribution], count: int, steps: int = 5, first: int = 0) -> list[FrozenTrial]:
    """Return trials: drawn by a fixed seed, one in seven pruned, one in fifty failed."""
    drawn = []
    for number in range(first, first + count):
        chance = random.Random(number)
        params = {name: _draw(distribution, chance) for name, distribution in searched.items()}
        value = score(params, chance)
        state = TrialState.FAIL if number % 50 == 49 else TrialState.PRUNED if number % 7 == 6 else TrialState.COMPLETE
        reached = steps // 2 if state != TrialState.COMPLETE else steps
        start = START + timedelta(seconds=20 * number)
        trial = FrozenTrial(
            number=number,
            trial_id=number,
            state=state,
            value=value if state != TrialState.FAIL else None,
            datetime_start=start,
            datetime_complete=start + timedelta(seconds=chance.uniform(10, 60)),
            params=params,
            distributions=searched,
            user_attrs={},
            system_attrs={},
            intermediate_values={step: value - 0.2 / step for step in range(1, reached + 1)},
        )
        drawn.append(trial)
    return drawn


def _draw(distribution: Any, chance: random.Random) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return chance.choice(distribution.choices)
    low, high = distribution.low, distribution.high
    value = math.exp(chance.uniform(math.log(low), math.log(high))) if distribution.log else chance.uniform(low, high)
    return value if isinstance(distribution, FloatDistribution) else round(value)


def add(house: Running, count: int, name: str = "s1") -> None:
    """Store so many ended trials of a study that is inspected, after those it has."""
    with house.core.database.reading() as session:
        study = study_rows.find(session, name)
    search = house.core.searches.get(study)  # Optuna has the study from now on
    trials = made_up(distributions(resolved_space(study)), count, first=search.count())
    with house.core.database.transaction() as session:
        session.execute(insert(AssignmentRow), [_row(study.id, trial) for trial in trials])
        optuna_id = session.scalar(select(models.StudyModel.study_id).where(models.StudyModel.study_name == name))
        assert optuna_id is not None
        _add_to_optuna(session, optuna_id, trials)
    search.refresh()


def _row(study_id: int, trial: FrozenTrial) -> dict[str, Any]:
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return {
        "study_id": study_id,
        "kind": AssignmentKind.TRAIN,
        "number": trial.number,
        "state": states[trial.state],
        "params": trial.params,
        "seed": trial.number,
        "created_at": trial.datetime_start.timestamp(),
        "started_at": trial.datetime_start.timestamp(),
        "finished_at": trial.datetime_complete.timestamp(),
        "attempt": 1,
        "received": True,
        "step": trial.last_step or 0,
        "value": trial.value,
    }


def _add_to_optuna(session: Session, study_id: int, trials: list[FrozenTrial]) -> None:
    """Store trials as `create_new_trial` does, but with a statement a table instead of several a trial."""
    model = models.TrialModel
    times = ("_datetime_start_utc", "_datetime_complete_utc")
    rows = [
        {"study_id": study_id, "number": t.number, "state": t.state}
        | dict(zip(times, (t.datetime_start, t.datetime_complete), strict=True))
        for t in trials
    ]
    session.execute(insert(model), rows)
    ids = dict(session.execute(select(model.number, model.trial_id).where(model.study_id == study_id)).all())
    params = [
        {
            "trial_id": ids[t.number],
            "param_name": key,
            "param_value": t.distributions[key].to_internal_repr(value),
            "distribution_json": distribution_to_json(t.distributions[key]),
        }
        for t in trials
        for key, value in t.params.items()
    ]
    session.execute(insert(models.TrialParamModel), params)
    finite = models.TrialValueModel.TrialValueType.FINITE
    values = [
        {"trial_id": ids[t.number], "objective": 0, "value": t.value, "value_type": finite}
        for t in trials
        if t.value is not None
    ]
    session.execute(insert(models.TrialValueModel), values)
    step_type = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    steps = [
        {"trial_id": ids[t.number], "step": k, "intermediate_value": v, "intermediate_value_type": step_type}
        for t in trials
        for k, v in t.intermediate_values.items()
    ]
    session.execute(insert(models.TrialIntermediateValueModel), steps)
