"""The configurations that a warm start writes out: in the new study's terms, each once; and which specs are alike."""

import json
from typing import Any

from luthier.service.cli.old_trials import with_warm_start
from luthier.studies.best_of_study import BestOfStudy
from luthier.studies.first_trials import first_trials
from luthier.studies.old_trials import OldTrial, Predecessor
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.translation import best_trials, shares_nothing
from tests.support import external
from tests.support.scripted_worker import INSPECTION
from tests.support.specs import SPACE, document

WARM = {"study": "s0", "top": 3}
DEPTHS = {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "freeze_depth": {"low": 0, "high": "auto"}}


def read(**changes: Any) -> StudySpec:
    return parse_spec(json.dumps(document() | {"warm_start": WARM} | changes))


def of_two_models() -> tuple[StudySpec, Inspection]:
    """Return a spec over two models, of 6 and of 12 blocks, and its inspection."""
    deep = {"blocks": [{"name": f"layer.{i}", "parameters": 9} for i in range(12)], "trainable_parameters": [1] * 13}
    found = INSPECTION.model_dump(by_alias=True) | {"others": [deep]}
    return read(model=["small", "large"], space=DEPTHS), Inspection.model_validate(found)


def source(spec: StudySpec, inspection: Inspection = INSPECTION) -> Predecessor:
    return Predecessor(study="s0", id=1, spec=spec, inspection=inspection, test_looks=0)


def test_a_freeze_depth_is_translated_between_one_model_and_several() -> None:
    several, found = of_two_models()
    one = read(model="large", space=DEPTHS)
    params = {"model": "large", "learning_rate": 1e-4, "freeze_depth": 0.5}
    (best,) = best_trials(one, source(several, found), [OldTrial(number=4, params=params, value=0.9)])
    assert best.params == {"learning_rate": 1e-4, "freeze_depth": 6}, "half of twelve blocks"
    assert (best.trial, best.value) == (4, 0.9)
    old = [OldTrial(number=1, params={"learning_rate": 1e-4, "freeze_depth": 3})]
    (best,) = best_trials(several, source(read(model="small", space=DEPTHS)), old)
    assert best.params == {"model": "small", "learning_rate": 1e-4, "freeze_depth": 0.5}, "half of six"
    (best,) = best_trials(several, source(read(model="medium", space=DEPTHS)), old)
    assert best.params == {"learning_rate": 1e-4, "freeze_depth": 0.5}, "none of these models"


def test_each_configuration_is_written_once_and_no_more_than_are_wanted() -> None:
    rates = (1e-4, 1e-4, 2e-4, 3e-4, 4e-4)
    old = [OldTrial(number=i, params={"learning_rate": rate, "epochs": 2}) for i, rate in enumerate(rates)]
    found = best_trials(read(), source(read(space={"learning_rate": SPACE["learning_rate"], "epochs": 2})), old)
    assert [best.trial for best in found] == [0, 2, 3]
    assert found[0].params["weight_decay"] == 0.01, "what the other study left out had its task's default"
    assert "optimizer" not in found[0].params


def test_what_both_search_is_shared() -> None:
    assert not shares_nothing(read(), read(space={"epochs": [1, 2]}))
    assert shares_nothing(read(), read(space={"epochs": 2, "optimizer": ["adamw", "sgd"]}))
    several, _ = of_two_models()
    assert not shares_nothing(several, several)


def test_specs_are_alike_whatever_the_service_wrote_into_one() -> None:
    bare = read()
    trials = [{"trial": 1, "value": 0.5, "params": {"learning_rate": 1e-4}}]
    written = read(warm_start={**WARM, "trials": trials})
    assert bare.says_the_same(written)
    assert written.says_the_same(bare)
    assert not written.says_the_same(read(warm_start={**WARM, "trials": [{"params": {"learning_rate": 2e-4}}]}))
    assert not written.says_the_same(read(warm_start={**WARM, "top": 4}))
    assert not written.says_the_same(parse_spec(json.dumps(document())))
    assert StudySpec.model_validate_json(written.model_dump_json()) == written
    assert "warm_start" not in parse_spec(json.dumps(document())).model_dump(mode="json")


def test_a_plan_lists_what_runs_first_and_what_is_dropped() -> None:
    trials = [{"trial": i, "params": {"learning_rate": rate}} for i, rate in ((7, 1e-4), (2, 5e-1), (3, 1e-4))]
    spec = read(warm_start={**WARM, "trials": trials}, budget={"trials": 20}, sampler={"portfolio": True})
    first = first_trials(spec, INSPECTION)
    run = [trial for trial in first if trial.number is not None]
    assert [trial.number for trial in run] == list(range(len(run)))
    assert [(trial.source, trial.from_trial) for trial in run[:3]] == [
        ("baseline", None),
        ("warm_start", 7),
        ("warm_start", 2),
    ]
    assert run[2].params is not None
    assert run[2].params["learning_rate"] == 1e-3
    assert "learning_rate 0.5 became 0.001" in run[2].why
    assert {trial.source for trial in run[3:]} == {"portfolio"}
    dropped = {trial.from_trial: trial.why for trial in first if trial.number is None and trial.source == "warm_start"}
    assert dropped == {3: "its configuration is that of another trial"}
    few = first_trials(read(warm_start={**WARM, "trials": trials}, budget={"trials": 2}), INSPECTION)
    assert [trial.number for trial in few] == [0, 1, None, None]


def test_the_command_adds_it_to_a_spec() -> None:
    assert with_warm_start("name: s1\n", "s0") == {"name": "s1", "warm_start": {"study": "s0"}}
    assert with_warm_start("[1", "s0") == "[1"
    assert BestOfStudy(study="s0").top == 5
    assert external.spec(warm_start=WARM).takes_over is not None
