"""Names and habits of Optuna that it does not promise to keep, and on which `studies/search` relies.

Each test fails with a sentence that says where to look after an upgrade of Optuna. The code uses no other private name.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, event

from luthier import studies
from luthier.studies.protocol import Reason
from luthier.studies.search.drawing import CONSTRAINT, is_infeasible
from luthier.studies.search.pruners import make_pruner
from luthier.studies.search.samplers import Sobol, make_sampler
from luthier.studies.search.storage import Storage, close_storage, engine_of, open_storage
from luthier.studies.search.storage_view import StorageView
from tests.support.specs import SPACE, spec

SPACE_OF_TWO = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


def upgraded(where: str) -> str:
    return f"Optuna has changed: look at {where} before this version is allowed in pyproject.toml"


def trained(storage: BaseStorage, count: int = 12) -> optuna.Study:
    """A study with complete trials of five evaluations each."""
    study = optuna.create_study(storage=storage, study_name="study")
    for i in range(count):
        value = i / count
        study.add_trial(
            create_trial(
                value=value,
                params={"x": value, "y": 1 - value},
                distributions=SPACE_OF_TWO,
                intermediate_values=dict.fromkeys(range(1, 6), value),
            )
        )
    return study


class ReadOnly(InMemoryStorage):
    """A storage that fails on each write once it is locked."""

    locked = False

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("set_", "create_", "delete_")) and object.__getattribute__(self, "locked"):
            raise AssertionError(f"{name} was called: {upgraded('studies/search/storage_view.py')}")
        return super().__getattribute__(name)


@pytest.fixture
def storage(sqlite_url: str) -> Any:
    opened = open_storage(sqlite_url)
    yield opened
    close_storage(opened)


def view_of(storage: BaseStorage) -> StorageView:
    study_id = storage.get_study_id_from_name("study")
    return StorageView(storage, study_id, storage.get_all_trials(study_id))


# ---- storage: `_backend.engine`, get_storage


def test_a_storage_has_its_engine_behind_it(storage: Storage) -> None:
    assert isinstance(engine_of(storage), Engine), upgraded("engine_of in studies/search/storage.py")


def test_a_storage_of_ones_own_is_handed_on_as_it_is(storage: Storage) -> None:
    where = "open_storage in studies/search/storage.py, which makes the one cache for all studies"
    assert get_storage(storage) is storage, upgraded(where)


def test_ids_of_trials_are_known_without_a_query(storage: Storage) -> None:
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "study")
    trial_id = storage.create_new_trial(study_id)
    statements: list[str] = []
    event.listen(engine_of(storage), "before_cursor_execute", lambda c, cursor, sql, *rest: statements.append(sql))
    assert storage.get_trial_id_from_study_id_trial_number(study_id, 0) == trial_id
    assert statements == [], upgraded("StudyTrials._id in studies/search/study_trials.py, which asks at each report")


# ---- StorageView: duck typing, and `Study` over it


def test_a_study_opens_over_a_view_and_reads_through_it() -> None:
    view = view_of(trained(InMemoryStorage())._storage)
    view._trials = view._trials[:3]
    assert len(view.study("study").get_trials(deepcopy=False)) == 3, upgraded("studies/search/storage_view.py")
    methods = {name for name in BaseStorage.__abstractmethods__ if not hasattr(view, name)}
    assert methods == set(), upgraded("studies/search/storage_view.py")


@pytest.mark.parametrize("name", ["tpe", "cmaes", "qmc", "random"])
def test_samplers_write_nothing_but_notes_about_a_trial_that_need_not_exist(name: str) -> None:
    storage = ReadOnly()
    trained(storage)
    storage.locked = True
    view = view_of(storage)
    sampler = make_sampler(spec(sampler={"name": name}), seed=1, point=3)
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = 12
    drawn = sampler.sample_relative(view.study("study"), trial, SPACE_OF_TWO)
    for key, distribution in SPACE_OF_TWO.items():
        drawn.setdefault(key, sampler.sample_independent(view.study("study"), trial, key, distribution))
    assert drawn.keys() == SPACE_OF_TWO.keys(), upgraded("Draw in studies/search/drawing.py")
    has_notes = isinstance(sampler, CmaEsSampler)
    assert not has_notes or view.notes, upgraded("Draw._proposal: CMA-ES keeps its state elsewhere")


@pytest.mark.parametrize("name", ["median", "percentile", "hyperband", "halving", "patient"])
def test_pruners_write_nothing_but_notes(name: str) -> None:
    storage = ReadOnly()
    trained(storage)
    storage.locked = True
    view = view_of(storage)
    for number in range(12, 20):  # Hyperband deals them among its brackets
        trial = create_trial(state=TrialState.RUNNING, intermediate_values={1: 0.9})
        trial.number = number
        make_pruner(spec(space=SPACE | {"epochs": 5}, pruner={"name": name})).prune(view.study("study"), trial)
    rungs = [key for key in view.notes if "rung" in key]
    assert bool(rungs) == (name in ("hyperband", "halving")), upgraded("Search.report, which stores pruners' notes")


# ---- samplers: `_find_sample_id`, what they look at


def test_the_sobol_sequence_asks_for_its_point() -> None:
    assert hasattr(QMCSampler, "_find_sample_id"), upgraded("Sobol in studies/search/samplers.py")
    study = trained(InMemoryStorage())
    draws = []
    for point in (5, 5, 6):
        sampler = make_sampler(spec(sampler={"name": "qmc"}), seed=point, point=point)
        assert isinstance(sampler, Sobol)
        draws.append(sampler.sample_relative(study, create_trial(state=TrialState.RUNNING), SPACE_OF_TWO))
    assert draws[0] == draws[1] != draws[2], upgraded("Sobol in studies/search/samplers.py")


@pytest.mark.parametrize("make", [lambda: TPESampler(seed=3), lambda: RandomSampler(seed=3)], ids=["tpe", "random"])
def test_a_draw_depends_on_the_seed_and_the_trials_alone(make: Callable[[], BaseSampler]) -> None:
    draws = []
    for _ in range(2):
        study = view_of(trained(InMemoryStorage())._storage).study("study")
        trial = create_trial(state=TrialState.RUNNING)
        draws.append(make().sample_independent(study, trial, "x", SPACE_OF_TWO["x"]))
    assert draws[0] == draws[1], upgraded("make_sampler in studies/search/samplers.py")


def test_tpe_takes_the_candidate_that_its_acquisition_function_likes_best(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def judge(self: TPESampler, samples: dict[str, Any], below: Any, above: Any) -> Any:
        seen.update(samples)
        return -samples["x"]

    where = upgraded("CostAwareTpe in studies/search/cost_aware.py, which overrides _compute_acquisition_func")
    assert hasattr(TPESampler, "_compute_acquisition_func"), where
    monkeypatch.setattr(TPESampler, "_compute_acquisition_func", judge)
    study = view_of(trained(InMemoryStorage())._storage).study("study")
    drawn = TPESampler(seed=3).sample_relative(study, create_trial(state=TrialState.RUNNING), SPACE_OF_TWO)
    assert seen.keys() == SPACE_OF_TWO.keys(), where
    assert len(seen["x"]) > 1, where
    assert drawn["x"] == min(seen["x"]), where


# ---- trials: writing FrozenTrial's attributes, system attributes, the prefix of constraints


def test_a_copy_of_a_trial_takes_attributes_of_its_own() -> None:
    trial = create_trial(value=0.5, params={"x": 0.5}, distributions={"x": SPACE_OF_TWO["x"]}, system_attrs={"a": 1})
    changed: FrozenTrial = copy.copy(trial)
    new: dict[str, Any] = {"number": 7, "state": TrialState.PRUNED, "values": [0.25], "system_attrs": {"b": 2}}
    for name, value in {**new, "intermediate_values": {1: 0.25}}.items():
        setattr(changed, name, value)
    where = "StudyTrials._change in studies/search/study_trials.py and _as_complete in studies/search/drawing.py"
    assert (changed.number, changed.state, changed.value, changed.last_step) == (7, TrialState.PRUNED, 0.25, 1), where
    assert changed.system_attrs == {"b": 2}, upgraded(where)
    assert (trial.state, trial.value, trial.system_attrs) == (TrialState.COMPLETE, 0.5, {"a": 1}), upgraded(where)
    assert trial.intermediate_values == {}, upgraded(where)


def test_system_attributes_of_a_template_are_stored_with_the_trial(storage: Storage) -> None:
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "study")
    trial_id = storage.create_new_trial(study_id, create_trial(state=TrialState.RUNNING, system_attrs={"a": [1]}))
    storage.set_trial_system_attr(trial_id, "b", 2)
    (trial,) = storage.get_all_trials(study_id)
    assert trial.system_attrs == {"a": [1], "b": 2}, upgraded("StudyTrials in studies/search/study_trials.py")


def test_a_constraint_is_a_system_attribute_with_a_prefix() -> None:
    trial = create_trial(value=0.5, system_attrs={f"{CONSTRAINT}{Reason.OOM}": 1.0})
    where = upgraded("CONSTRAINT in studies/search/drawing.py, which Search.tell writes")
    assert trial.constraints == {"oom": 1.0}, where
    assert is_infeasible(trial), where
    assert create_trial(value=0.5, constraints={"oom": 1.0}).system_attrs == trial.system_attrs, where
    assert not is_infeasible(create_trial(value=0.5)), where


# ---- nothing else


def test_no_other_private_name_is_used() -> None:
    folder = Path(studies.__path__[0]) / "search"
    names = "_study_id|_trial_id|_storage|_backend|_directions|_thread_local"
    private = re.compile(rf"(?<!self)\.({names})\b|from optuna[\w.]*\._")
    uses = {
        f"{file.name}: {match.group()}"
        for file in folder.glob("*.py")
        for match in private.finditer(file.read_text(encoding="utf-8"))
    }
    assert uses == {"storage.py: ._backend"}, "use the public API, or add a test here for the private name"
