"""Which configuration a search asks for next, and when a space is exhausted."""

import pytest
from sqlalchemy import event

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.storage import Storage, engine_of
from luthier.studies.spec import StudySpec
from tests.support.searches import GRID, SAMPLERS, distinct, run, start
from tests.support.specs import SPACE, spec


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_configuration_lies_in_the_space_with_plain_types(sqlite: Storage, sampler: str) -> None:
    grid = {"learning_rate": {"low": 0.0, "high": 0.001, "step": 0.0001}} if sampler == "grid" else {}
    space = {**SPACE, "weight_decay": {"low": 0, "high": 0.3, "step": 0.05}, "optimizer": "sgd", **grid}
    if sampler == "grid":
        space["learning_rate"] = {"low": 1e-4, "high": 1e-3, "step": 1e-4}
    search = start(sqlite, space=space, sampler={"name": sampler})
    for params in run(search, range(15)):
        assert params is not None
        assert {type(value) for value in params.values()} <= {int, float, str}
        s = spec(space=space).space.resolved(6)
        assert s.check(params) == params
        assert list(params) == list(s)


@pytest.mark.parametrize("sampler", [*SAMPLERS, pytest.param("gp", marks=pytest.mark.full)])
def test_every_configuration_of_a_finite_space_runs_once_then_it_is_exhausted(sqlite: Storage, sampler: str) -> None:
    search = start(sqlite, space=GRID, sampler={"name": sampler})
    asked = run(search, range(24))
    assert len(distinct(asked)) == 24
    assert search.ask(24) is None
    assert search.ask(24) is None
    assert search.count() == 24
    assert search.unfinished() == []


def test_a_space_without_anything_to_search_holds_the_baseline_only(sqlite: Storage) -> None:
    search = start(sqlite, space={"epochs": 2})
    assert search.ask(0) == {"epochs": 2}
    assert search.ask(1) is None


def test_dimensions_with_one_value_are_fixed(sqlite: Storage) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-4}, "epochs": {"low": 3, "high": 3}, "batch_size": [8, 16]}
    search = start(sqlite, space=space)
    asked = [search.ask(0), search.ask(1)]
    assert {params["batch_size"] for params in asked if params} == {8, 16}
    assert all(params and params["learning_rate"] == 1e-4 and params["epochs"] == 3 for params in asked)
    assert search.ask(2) is None


def test_an_astronomically_large_grid_is_not_listed(sqlite: Storage) -> None:
    wide = {"low": 1, "high": 60_000}
    space = {"batch_size": wide, "max_length": {"low": 2, "high": 1_000_000}, "freeze_depth": [0, 1], "epochs": 3}
    asked = run(start(sqlite, space=space, sampler={"name": "grid"}), range(20))
    assert len(distinct(asked)) == 20
    assert None not in asked


def test_the_baseline_is_one_of_the_grids_points(sqlite: Storage) -> None:
    search = start(sqlite, space=GRID, sampler={"name": "grid"})
    first = search.ask(0)
    s: StudySpec = spec(space=GRID)
    assert first == s.space.clip(complete({}, s.task_info.baseline))
    assert all(search.ask(number) != first for number in range(1, 24))


def test_trials_are_numbered_without_gaps(sqlite: Storage) -> None:
    search = start(sqlite)
    with pytest.raises(ValueError, match="has 0 trials, so the next one is 0, not 1"):
        search.ask(1)


def test_a_configuration_is_found_whatever_became_of_its_trial(sqlite: Storage) -> None:
    search = start(sqlite)
    asked = [search.ask(number) for number in range(3)]
    search.tell(0, TrialState.FAILED, None, Reason.ERROR)
    search.tell(1, TrialState.CANCELLED, None, None)
    assert [search.find(params) for params in asked if params] == [0, 1, 2]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_trial_is_created_whole_in_one_transaction(sqlite: Storage, sampler: str) -> None:
    search = start(sqlite, sampler={"name": sampler})
    run(search, range(12))
    statements: list[str] = []
    engine = engine_of(sqlite)
    event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *rest: statements.append(sql.split()[0]))
    event.listen(engine, "commit", lambda connection: statements.append("COMMIT"))
    search.ask(12)
    writing = [i for i, word in enumerate(statements) if word in ("INSERT", "UPDATE")]
    assert len(writing) > len(SPACE)
    assert "COMMIT" not in statements[writing[0] : writing[-1]]
    assert "COMMIT" in statements[writing[-1] :]
