"""`max_length: auto`: a number in its place once the data are inspected, in every space, sampler and trial 0."""

from typing import Any

import jsonschema_rs
import pytest
from optuna.storages import InMemoryStorage
from pydantic import ValidationError

from luthier.studies.protocol import TrialState
from luthier.studies.results import Inspection
from luthier.studies.search.feasibility import search_problems
from luthier.studies.search.search import Search
from luthier.studies.semantics import NEWEST_SEMANTICS, OLDEST_SEMANTICS
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.studies.warm_start import Adapted, adapt
from tests.support.searches import SAMPLERS
from tests.support.specs import document, spec

RANGE = {"low": 32, "high": "auto"}


def space(**dimensions: Any) -> Space:
    return Space.model_validate(dimensions)


def inspected(length: int | None) -> Inspection:
    none: dict[str, Any] = {"blocks": [], "trainable_parameters": [1], "label_names": [], "labels": {}, "rows": {}}
    return Inspection(**none, fingerprint="f", max_length=length)


@pytest.mark.parametrize(
    ("written", "length", "found"),
    [
        ("auto", 96, 96),
        (64, 96, 64),
        ([64, "auto"], 96, (64, 96)),
        ([64, "auto"], 64, (64,)),
        (RANGE, 96, {"low": 32, "high": 96}),
        (RANGE, 16, {"low": 32, "high": 32}),  # never below what its user wrote
        ({"low": 16, "high": 512}, 96, {"low": 16, "high": 512}),
        ("auto", None, 128),
        (RANGE, None, {"low": 32, "high": 128}),
    ],
)
def test_a_number_takes_the_place_of_auto(written: Any, length: int | None, found: Any) -> None:
    resolved = space(max_length=written, strategy="full").resolved(6, length=length)
    several = spec(model=["a", "b"], space={"max_length": written}).space.resolved(2, 4, length=length)
    for d in (resolved["max_length"], several["max_length"]):
        shown = {"low": d.low, "high": d.high} if hasattr(d, "low") else d
        assert shown == found
    assert list(resolved) == ["max_length", "strategy"]
    assert resolved.model_dump() == Space.model_validate(resolved.model_dump()).model_dump()


@pytest.mark.parametrize("model", ["a", ["a", "b"]])
def test_a_space_without_max_length_gets_it_fixed(model: Any) -> None:
    written = spec(model=model, space={"epochs": 3})
    depths = [6] if isinstance(model, str) else [6, 6]
    assert written.space.resolved(*depths, length=96)["max_length"] == 96
    assert "max_length" not in written.space.resolved(*depths)
    assert "max_length" not in written.space, "what was written stays"


@pytest.mark.parametrize(
    ("semantics", "written", "length", "found"),
    [
        (NEWEST_SEMANTICS, {}, 96, 96),
        (NEWEST_SEMANTICS, {"max_length": {"low": 16, "high": 512}}, 96, 96),
        (NEWEST_SEMANTICS, {"max_length": {"low": 128, "high": 512}}, 96, 128),
        (NEWEST_SEMANTICS, {"max_length": RANGE}, 300, 300),
        (NEWEST_SEMANTICS, {"max_length": [64, "auto"]}, 96, 96),
        (OLDEST_SEMANTICS, {"max_length": {"low": 16, "high": 512}}, None, 128),
        (OLDEST_SEMANTICS, {}, None, None),
    ],
)
def test_trial_0_begins_with_the_length_that_suits_the_data(
    semantics: int, written: dict[str, Any], length: int | None, found: int | None
) -> None:
    s = spec(space={"epochs": 3, **written}).with_semantics(semantics)
    search = Search(InMemoryStorage(), s, s.resolved_space(inspected(length)))
    baseline = search.ask(0)
    assert baseline is not None
    assert baseline.get("max_length") == found
    search.tell(0, TrialState.COMPLETE, 0.5, None)
    if (second := search.ask(1)) is not None and not written:
        assert second.get("max_length") == found


@pytest.mark.parametrize(
    ("changes", "measured"),
    [
        ({"semantics": 2}, True),
        ({"semantics": 2, "space": {"max_length": 64}}, True),  # for what plans show
        ({"semantics": 2, "task": "image-classification"}, False),
        ({}, False),
        ({"space": {"max_length": [64, 128]}}, False),
        ({"space": {"max_length": "auto"}}, True),  # a schedule of old whose template was replaced
        ({"space": {"max_length": RANGE}}, True),
        ({"space": {"max_length": [64, "auto"]}}, True),
    ],
)
def test_who_asks_for_the_lengths_of_the_data(changes: dict[str, Any], measured: bool) -> None:
    raw = document({"dataset.columns": {}}) | {"space": {"learning_rate": 1e-3}} | changes
    assert StudySpec.model_validate(raw).measures_lengths is measured


@pytest.mark.parametrize(
    ("written", "path", "text"),
    [
        ("Auto", "max_length", 'must be a whole number or "auto"'),
        ({"low": "auto", "high": 64}, "max_length.low", "only high may be auto"),
        (["auto", "auto"], "max_length.1", "listed twice"),
        (1, "max_length", "at least 2"),
        (0.5, "max_length", "whole number"),
    ],
)
def test_other_words_are_refused_with_their_path(written: Any, path: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(document({"space.max_length": written}))
    (problem,) = caught.value.errors()
    assert ".".join(map(str, problem["loc"])) == f"space.{path}"
    assert text in problem["msg"]


@pytest.mark.parametrize("written", ["auto", 64, RANGE, [64, "auto"]])
def test_a_task_without_lengths_refuses_auto_as_any_number(written: Any) -> None:
    changes = {"task": "image-classification", "dataset.columns": {}, "space.max_length": written}
    with pytest.raises(ValidationError, match="has no meaning for images"):
        StudySpec.model_validate(document(changes))
    assert "max_length" not in TASKS["image-classification"].shown_baseline


def test_the_schema_takes_auto_and_no_fraction() -> None:
    validator = jsonschema_rs.validator_for(StudySpec.model_json_schema())
    for written in ("auto", 64, RANGE, [64, "auto"]):
        assert validator.is_valid(document({"space.max_length": written}))
    for written in ("longest", 64.5, {"low": 32, "high": "most"}):
        assert not validator.is_valid(document({"space.max_length": written}))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("length", [8, 48, 3_000])
@pytest.mark.parametrize("written", ["auto", [64, "auto"], RANGE, RANGE | {"step": 32}, RANGE | {"log": True}])
def test_every_sampler_draws_from_it(sampler: str, length: int, written: Any) -> None:
    if isinstance(written, dict) and "log" in written and sampler == "grid":
        written = RANGE
    s = spec(sampler={"name": sampler}, space={"epochs": [1, 2], "max_length": written})
    assert search_problems(s) == []
    resolved = s.space.resolved(6, length=length)
    search = Search(InMemoryStorage(), s, resolved)
    for number in range(4):
        params = search.ask(number)
        if params is None:
            break
        assert resolved.check(params) == params
        search.tell(number, TrialState.COMPLETE, number / 4, None)


def test_the_best_of_an_earlier_run_takes_the_length_of_todays_data() -> None:
    today = space(epochs=3).resolved(6, length=104)
    assert adapt({"epochs": 3, "max_length": 96}, today) == Adapted(
        {"epochs": 3, "max_length": 104}, ("max_length 96 became 104",)
    )


@pytest.mark.parametrize("written", ["auto", RANGE, [64, "auto"]])
def test_a_configuration_of_ones_own_says_a_number(written: Any) -> None:
    resolved = space(max_length=written).resolved(6, length=96)
    assert resolved.check({"max_length": 96}) == {"max_length": 96}
    for name, auto in (("max_length", resolved), ("freeze_depth", space(freeze_depth=[0, 6]).resolved(6))):
        with pytest.raises(ValidationError, match="must be a number in the study's space"):
            auto.check({name: "auto"})
