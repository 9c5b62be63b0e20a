"""Priors: the baseline has them, early trials are drawn near them, later ones by the sampler; what is refused."""

import json
import math
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from pydantic import ValidationError

from luthier.studies.search.priors import WEIGHT, near_priors, share
from luthier.studies.search.search import Search
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.external import document as external
from tests.support.searches import run, start
from tests.support.specs import SPACE, document, spec

RATE = {"low": 1e-6, "high": 1e-2, "log": True, "prior": 3e-5}
EPOCHS = {"low": 1, "high": 20, "prior": 5}
DECAY = {"low": 0.0, "high": 0.3, "step": 0.1, "prior": 0.1}
BELIEVED = {**SPACE, "learning_rate": RATE, "epochs": EPOCHS, "weight_decay": DECAY}


def refused(**changes: Any) -> dict[str, str]:
    """Return the messages of a refused spec, by path."""
    with pytest.raises(ValidationError) as caught:
        parse_spec(json.dumps(document() | changes))
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


def test_the_baseline_has_the_priors_and_else_the_tasks_defaults() -> None:
    baseline = spec(space=BELIEVED).space.resolved(6).baseline(spec().task_info.baseline)
    assert baseline == {
        "learning_rate": 3e-5,
        "batch_size": 32,
        "epochs": 5,
        "weight_decay": 0.1,
        "freeze_depth": 0,
    }
    own = StudySpec.model_validate(external() | {"space": {"x": {"low": 0.0, "high": 1.0, "prior": 0.2}, "y": [4, 5]}})
    assert own.space.baseline({}) == {"x": 0.2, "y": 4}


def test_draws_are_near_the_priors_at_first_and_everywhere_in_the_range() -> None:
    space = spec(space=BELIEVED).space.resolved(6)
    for number in (1, 5, 45):
        drawn = [near_priors(space, seed, number, 0) for seed in range(600)]
        near = [params for params in drawn if params]
        assert len(near) / len(drawn) == pytest.approx(share(number), abs=0.06)
        assert all(set(params) == {"learning_rate", "epochs", "weight_decay"} for params in near)
        assert all(space.clip(space.baseline({}) | params).items() >= params.items() for params in near)
        if len(near) > 200:
            rates = sorted(math.log10(float(params["learning_rate"])) for params in near)
            assert rates[len(rates) // 2] == pytest.approx(math.log10(3e-5), abs=0.25)  # a Gaussian's median, cut off
            assert rates[0] < -5.9, "also far from it"
            assert rates[-1] > -2.8
            assert {params["weight_decay"] for params in near} == {0.0, 0.1, 0.2, 0.3}
    assert share(0) == 1.0
    assert share(int(WEIGHT)) == 0.5


def test_a_study_with_priors_is_the_same_wherever_it_goes_on_and_one_without_is_as_it_was() -> None:
    def asked(space: dict[str, Any], count: int = 14) -> list[Any]:
        return run(start(InMemoryStorage(), space=space, pruner={"name": "none"}), range(count))  # type: ignore[arg-type]

    whole = asked(BELIEVED)
    assert asked(BELIEVED) == whole
    written = spec(space=BELIEVED).model_dump(mode="json")
    again = StudySpec.model_validate_json(json.dumps(written))
    assert run(Search(InMemoryStorage(), again, again.space.resolved(6)), range(14)) == whole  # type: ignore[arg-type]
    bare = {
        name: {k: v for k, v in d.items() if k != "prior"} if isinstance(d, dict) else d for name, d in BELIEVED.items()
    }
    plain = asked(bare)
    mixed = [number for number in range(1, 10) if near_priors(spec(space=BELIEVED).space.resolved(6), 0, number, 0)]
    for number in range(1, 10):  # before the sampler has a model it draws by seed and number alone
        names = ("batch_size", "freeze_depth") if number in mixed else tuple(bare)
        assert [whole[number][name] for name in names] == [plain[number][name] for name in names]
    assert 0 < len(mixed) < 9
    assert "prior" not in json.dumps(spec().model_dump(mode="json"))


@pytest.mark.parametrize(
    ("d", "path", "message"),
    [
        (RATE | {"prior": 1e-1}, "learning_rate.prior", "must lie in the range, from 1e-06 to 0.01"),
        (RATE | {"prior": "auto"}, "learning_rate.prior", "must be a"),
        (RATE | {"prior": True}, "learning_rate.prior", "must be a"),
        (EPOCHS | {"prior": 2.5}, "epochs.prior", "must be a whole number"),
        (EPOCHS | {"prior": 0}, "epochs.prior", "must be at least 1"),
        ({"low": 0, "high": "auto", "prior": "auto"}, "freeze_depth.prior", "must be a number; only high may be auto"),
        ({"choices": [1, 2], "prior": 1}, "batch_size.choices", "a range has low, high, log, step, prior"),
    ],
)
def test_a_prior_that_is_no_value_of_its_range_is_refused(d: dict[str, Any], path: str, message: str) -> None:
    problems = refused(space={path.partition(".")[0]: d})
    assert message in problems[f"space.{path}"]


@pytest.mark.parametrize("sampler", ["grid", "qmc", "cmaes"])
def test_a_sampler_that_takes_no_priors_says_which_do(sampler: str) -> None:
    message = refused(space={"epochs": EPOCHS}, sampler={"name": sampler})["space.epochs.prior"]
    assert message.endswith("take the sampler tpe, gp or random, or leave prior out")
    own = external() | {"space": {"x": {"low": 0, "high": 9, "prior": 2}}, "sampler": {"name": sampler}}
    with pytest.raises(ValidationError, match="leave prior out"):
        StudySpec.model_validate(own)


def test_a_prior_of_a_resolved_range_lies_in_the_model_and_the_lengths() -> None:
    d = {"low": 0, "high": "auto", "prior": 5}
    assert Space.model_validate({"freeze_depth": d}).resolved(6).priors() == {"freeze_depth": 5}
    with pytest.raises(ValidationError, match="the model has 4 blocks, so at most 4") as caught:
        Space.model_validate({"freeze_depth": d}).resolved(4)
    assert caught.value.errors()[0]["loc"] == ("space", "freeze_depth", "prior")
    lengths = {"max_length": {"low": 16, "high": "auto", "prior": 200}}
    assert Space.model_validate(lengths).resolved(6, length=90).priors() == {"max_length": 90}
    several = spec(model=["a", "b"], space={"freeze_depth": {"low": 0, "high": "auto", "prior": 0.5}, "epochs": [1, 2]})
    space = several.space.resolved(4, 12)
    assert space.baseline(several.task_info.baseline)["freeze_depth"] == 0.5
    assert {
        space.assigned(run_one)["freeze_depth"] for run_one in map(space.clip, [{"model": "b"} | space.priors()])
    } == {6}
