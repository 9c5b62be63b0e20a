"""The portfolio: which studies have one, where each configuration comes in the search, and the file of the lists."""

import gzip
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from pydantic import ValidationError

from luthier.studies.budget import Budget
from luthier.studies.first_trials import known_good
from luthier.studies.portfolio import FILE, FROZEN, configuration
from luthier.studies.protocol import TrialState
from luthier.studies.search.search import Search
from luthier.studies.semantics import NEWEST_SEMANTICS, PORTFOLIO_FIRST
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.tasks import TASKS
from tests.support.paths import ROOT
from tests.support.scripted_worker import INSPECTION
from tests.support.specs import SPACE, document

LISTS = json.loads(FILE.read_text())["tasks"]
ASKED = {"portfolio": True}
WARM = {"study": "s0", "top": 3, "trials": [{"params": {"learning_rate": rate}} for rate in (1e-4, 2e-4, 3e-4)]}


def read(semantics: int = NEWEST_SEMANTICS, **changes: Any) -> StudySpec:
    return parse_spec(json.dumps(document() | changes), semantics)


def length(**changes: Any) -> int:
    return len(known_good(read(**changes), INSPECTION))


def test_every_list_is_of_a_task_and_fits_spaces_of_all_its_hyperparameters() -> None:
    assert LISTS
    for name, lists in LISTS.items():
        task, since = TASKS[name], [one["semantics"] for one in lists]
        assert sorted(set(since)) == since
        assert since[0] == PORTFOLIO_FIRST
        for one in lists:
            assert one["origin"], "where it is from"
            assert 1 <= len(one["configurations"]) <= 5, "half of the fewest trials"
            for entry in one["configurations"]:
                named = {"freeze_depth" if key == FROZEN else key: value for key, value in entry.items()}
                ranges: dict[str, Any] = {key: [value, *_others(value)] for key, value in named.items()}
                ranges["freeze_depth"] = {"low": 0, "high": "auto"}
                space = read(task=name, space=ranges, dataset={"source": "data"}).space.resolved(8)
                found = configuration(entry, space, [8], task)
                assert found == {**named, "freeze_depth": round(8 * entry[FROZEN])}, "nothing of it is lost"


def _others(value: Any) -> list[Any]:
    return [value * 2] if isinstance(value, int | float) and value else []


def test_it_runs_where_a_spec_asks_for_it() -> None:
    whole = length(sampler=ASKED)
    assert whole == min(5, len(LISTS["text-classification"][-1]["configurations"])) > 0
    assert length() == length(sampler={"portfolio": False}) == 0
    assert length(sampler=ASKED, budget={"trials": 9}) == min(4, whole), "half of the trials are the search's own"
    assert length(sampler=ASKED, budget={"trials": 3}) == 1
    assert length(sampler=ASKED, budget={"trials": 1}) == 0
    assert length(sampler=ASKED, budget={"wall_clock_seconds": 60}) == whole
    assert length(sampler=ASKED | {"name": "random"}) == whole
    assert length(sampler=ASKED, budget={"trials": 10}, warm_start=WARM) == min(2, whole)
    extended = read(budget={"trials": 30}, sampler=ASKED)
    assert len(known_good(extended, INSPECTION, Budget(trials=2))) == 1, "it goes by the first budget"
    assert known_good(extended, INSPECTION, Budget(trials=12)) == known_good(extended, INSPECTION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": {"name": "grid", "portfolio": True}, "space": {"epochs": [1, 2]}}, "no meaning for a grid"),
        ({"task": "token-classification", "sampler": {"portfolio": True}}, "no known-good configurations for token-"),
        ({"sampler": {"portfolio": "yes"}}, ""),
    ],
)
def test_one_that_cannot_be_is_refused_at_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**changes)
    (error,) = (e for e in caught.value.errors() if "portfolio" in e["loc"])
    assert error["loc"] == ("sampler", "portfolio")
    assert message in error["msg"]


def test_it_comes_after_the_baseline_each_once_and_then_the_sampler_draws() -> None:
    spec = read(space={**SPACE, "batch_size": [8, 32]}, sampler=ASKED)
    first = known_good(spec, INSPECTION)
    space = spec.resolved_space(INSPECTION)
    assert all(params == space.clip(params) for params in first)
    new = list({space.key(params): params for params in first}.values())
    storage = InMemoryStorage()
    search = Search(storage, spec, space, first=first)  # type: ignore[arg-type]
    assert search.ask(0) == space.baseline(spec.task_info.baseline)
    search.enqueue(1, new[0])  # a user's own, before
    asked = [search.ask(2), search.ask(3)]
    assert asked == new[1:3]
    search.tell(2, TrialState.FAILED, None, None)
    again = Search(storage, spec, space, first=first)  # type: ignore[arg-type]
    assert [again.ask(number) for number in (0, 1, 2, 3)][1:] == [new[0], *asked], "adopted after a crash"
    search.forget(3)
    drawn = [search.ask(number) for number in range(4, len(new) + 3)]
    assert drawn[: len(new) - 3] == new[3:], "a deleted one does not come again"
    assert all(params is not None and space.key(params) not in map(space.key, new) for params in drawn[len(new) - 3 :])


def test_the_benchmark_covers_each_data_set_and_judges_on_the_one_left_out(tmp_path: Path) -> None:
    """Configuration 1 is good on both texts, 2 on the images alone, 3 nearly as good there, the others nowhere."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks/portfolio.py"))
    scores = {"a": (0.5, 0.9, 0.7, 0.5, 0.6), "b": (0.6, 0.8, 0.6, 0.6, 0.64), "c": (0.2, 0.3, 0.9, 0.8, 0.2)}
    for name, each in scores.items():
        task = "image-classification" if name == "c" else "text-classification"
        (tmp_path / f"{name}.json").write_text(json.dumps({"task": task, "depth": 6}))
        header = "configuration,learning_rate,batch_size,epochs,weight_decay,freeze_depth,seconds,validation_accuracy\n"
        rows = [
            f"{i},0.0012345,16,3,0.1,{i},{step},{score * step / 2}\n" for i, score in enumerate(each) for step in (1, 2)
        ]
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write(header + "".join(rows) + ("9,1e-05,8,1,0,0,1,\n" if name == "a" else ""))  # diverged; only there
    read_all = [benchmark["read"](tmp_path / f"{name}.csv.gz") for name in scores]
    assert read_all[0].entries[3] == {
        "learning_rate": 0.0012,
        "batch_size": 16,
        "epochs": 3,
        "weight_decay": 0.1,
        FROZEN: 0.5,
    }
    choose = benchmark["choose"]
    assert choose("text-classification", read_all, 2) == [1, 2]
    assert choose("image-classification", read_all, 2) == [2, 1]
    assert choose("text-classification", read_all, 9) == [1, 2, 3, 4], "then those which are good by themselves"
    rows = {row["left_out"]: row for row in benchmark["judged"](read_all, 2)}
    assert rows["b"]["chosen"] == [1, 2]
    assert rows["b"]["regret"] == [0.0, 0.0]
    assert rows["c"]["chosen"] == [1, 2], "the images did not help to choose"
    assert rows["c"]["regret"] == [1.0, 0.0]
    middle = (0.3 + 0.8) / 2
    assert rows["c"]["random"][0] == pytest.approx((1 + 0 + 0.1 / (0.9 - middle) + 1) / 4, abs=1e-3)
