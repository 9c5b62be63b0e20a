"""GET .../trials: filtered by states, sorted by any score or parameter, in pages that stay right, also of thousands."""

from typing import Any

import pytest
from sqlalchemy import update

from luthier.service.storage.tables import AssignmentRow
from tests.support.harness import Running, ScriptedWorker, paths, problem

pytestmark = pytest.mark.both_databases
TRIALS = "/v1/studies/s1/trials"
SPACE = {
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "optimizer": ["adamw", "sgd"],
    "strategy": ["full", "lora"],
    "lora_rank": [4, 8],
    "epochs": 2,
}


def pages(house: Running, query: str, limit: int = 3) -> list[dict[str, Any]]:
    """Return the trials of all pages, which may hold no trial twice."""
    items, cursor = [], ""
    while True:
        page = house.get(f"{TRIALS}?limit={limit}&{query}{cursor}")
        items += page["items"]
        if page["next_cursor"] is None:
            assert len({trial["number"] for trial in items}) == len(items)
            return items
        cursor = f"&cursor={page['next_cursor']}"


def ordered(trials: list[Any], value: Any, reverse: bool) -> list[int]:
    """Return numbers as the listing should have them: by value, those without one last, equal ones by number."""
    there = sorted((t for t in trials if value(t) is not None), key=lambda t: t["number"])
    there.sort(key=value, reverse=reverse)
    return [t["number"] for t in [*there, *(t for t in trials if value(t) is None)]]


VALUES = {
    "value": lambda t: t["value"],
    "seconds": lambda t: t["seconds"],
    "state": lambda t: t["state"],
    "params.learning_rate": lambda t: t["params"]["learning_rate"],
    "params.optimizer": lambda t: t["params"]["optimizer"],
    "params.lora_rank": lambda t: t["params"].get("lora_rank"),
    "number": lambda t: t["number"],
    "accuracy": lambda t: t["value"],
    "loss": lambda t: None if t["value"] is None else t["values"][-1]["metrics"]["loss"],
    "worker": lambda t: t["worker"],
}


@pytest.mark.full
def test_trials_are_sorted_by_what_they_show(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 9}, space=SPACE)
    for number in range(8):
        a = worker.take()
        if number in (3, 5):
            worker.finish(a, "failed", reason="error")
            continue
        worker.report(a, 1, 0.5 + (number * 7 % 5) / 10)
        worker.finish(a, seconds=10.0 - number)
    everything = house.trials()
    for key, value in VALUES.items():
        for sign in ("", "-"):
            numbers = [trial["number"] for trial in pages(house, f"sort={sign}{key}")]
            if value(everything[0]) == value(everything[1]) == value(everything[2]):
                assert sorted(numbers) == list(range(8))
            assert numbers == ordered(everything, value, bool(sign)), f"{sign}{key}"
    both = pages(house, "state=failed&state=running&sort=-number")
    assert [trial["number"] for trial in both] == [5, 3]
    assert [trial["number"] for trial in pages(house, "state=failed,running")] == [3, 5]


def test_pages_stay_right_while_trials_come_and_go(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 9})
    scores = iter([0.5, 0.8, 0.6, 0.9, 0.7])
    for _ in range(4):
        a = worker.take()
        worker.report(a, 1, next(scores))
        worker.finish(a)
    first = house.get(f"{TRIALS}?sort=-value&limit=2")
    assert [trial["number"] for trial in first["items"]] == [3, 1]
    assert house.client.delete(f"{TRIALS}/1").status_code == 204
    a = worker.take()
    worker.report(a, 1, next(scores))
    worker.finish(a)
    rest = house.get(f"{TRIALS}?sort=-value&cursor={first['next_cursor']}")
    assert [trial["number"] for trial in rest["items"]] == [4, 2, 0], "the one where the page ended is gone"
    other = house.client.get(f"{TRIALS}?sort=value&cursor={first['next_cursor']}")
    assert paths(other) == {"cursor"}


@pytest.mark.parametrize("sort", ["magic", "params.magic", "params.", "--value", "value;drop", "values", "x" * 200])
def test_an_unknown_key_is_told_those_that_exist(inspected: Running, sort: str) -> None:
    response = inspected.client.get(TRIALS, params={"sort": sort})
    assert paths(response) == {"sort"}
    for known in ("value", "params.learning_rate", "accuracy"):
        assert known in problem(response, 422)["detail"]


CURSORS = ["!", "e30", "bnVsbA", "WyItdmFsdWUiLCBbXSwgMV0", "WyItdmFsdWUiLCAxZTk5OSwgMV0x", "x" * 1001]


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_cursor_that_was_made_up_is_refused(inspected: Running, cursor: str) -> None:
    assert paths(inspected.client.get(TRIALS, params={"sort": "-value", "cursor": cursor})) == {"cursor"}


@pytest.mark.full
def test_a_damaged_row_fails_no_sorted_list(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 3})
    for _ in range(2):
        worker.train(worker.take())
    with house.core.database.transaction() as session:
        session.execute(update(AssignmentRow).where(AssignmentRow.number == 1).values(params=["no", "object"]))
    for sort in ("params.learning_rate", "-value", "accuracy"):
        assert len(house.get(f"{TRIALS}?sort={sort}")["items"]) == 2
