"""Lists: a page of fifty takes as many queries as a page of one, and no query passes over the pages before it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from tests.support import many_trials
from tests.support.harness import Running
from tests.support.many_rows import add_schedule, add_study, add_worker

pytestmark = pytest.mark.both_databases


@contextmanager
def statements(house: Running) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that requests send to the database within the block."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        is_requests = threading.current_thread().name.startswith("AnyIO")  # not the reaper's, which comes every second
        if is_requests and statement != "BEGIN" and "luthier_token" not in statement:  # looked at once a second
            sent.append((statement, parameters))

    event.listen(house.core.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(house.core.database.engine, "before_cursor_execute", note)


def items(house: Running, path: str, count: int) -> tuple[list[dict[str, Any]], int]:
    """Return a list's items, which must be so many, and the number of statements that it took."""
    with statements(house) as sent:
        page = house.get(path)["items"]
    assert len(page) == count
    return page, len(sent)


@pytest.fixture
def full_house(house: Running) -> Running:
    """Fifty studies, most of them with repetitions, fifty schedules and fifty workers."""
    for number in range(50):
        confirm = {"confirm": {"candidates": 1 + number % 3, "seeds": 2}} if number % 4 else {}
        loss = {"objective": {"metric": "loss"}} if number % 2 else {}
        add_study(house, f"s{number}", 5 + number % 3, **confirm, **loss)
        add_schedule(house, f"n{number}", 3)
        add_worker(house, f"w{number}")
    return house


@pytest.mark.full
def test_a_page_of_fifty_takes_as_many_queries_as_a_page_of_one(full_house: Running) -> None:
    house = full_house
    add_study(house, "long", 60)
    add_study(house, "confirmed", 5, confirm={"candidates": 2, "seeds": 2})
    add_schedule(house, "often", 60)
    pages = {"/v1/studies": 2, "/v1/studies/long/trials": 1, "/v1/schedules": 1, "/v1/schedules/often/runs": 1}
    for path, few in pages.items():  # two studies: one with repetitions and one without
        one = items(house, f"{path}?limit={few}", few)[1]
        fifty = items(house, f"{path}?limit=50", 50)[1]
        assert one == fifty <= 8, f"{path}: {one} queries for {few}, {fifty} for fifty"
    assert items(house, "/v1/workers", 50)[1] <= 4
    with statements(house) as sent:
        assert house.client.get("/schedules").status_code == 200
    assert len(sent) <= 5


@pytest.mark.full
def test_a_list_shows_each_study_and_schedule_as_its_own_page_does(full_house: Running) -> None:
    house = full_house
    for noun in ("studies", "schedules"):
        page, _ = items(house, f"/v1/{noun}?limit=50", 50)
        for shown in page:
            own = house.get(f"/v1/{noun}/{shown['name']}")
            if noun == "studies":
                assert own["data"]["rows"], "which a list leaves out"
                own["data"] = None
                assert own["costs"], "which a list leaves out"
                own["costs"] = []
            assert own == shown
    studies = {study["name"]: study for study in house.get("/v1/studies?limit=50")["items"]}
    accuracy, loss = studies["s2"], studies["s1"]
    assert accuracy["counts"]["complete"] == 7
    assert accuracy["baseline"] == {"trial": 0, "value": 0.1, "test": None, "interval": None}
    assert accuracy["gpu_seconds"] == 10.0 * (7 + 6)
    assert accuracy["best"]["trial"] == 6, "its winner"
    assert [confirmed["trial"] for confirmed in accuracy["confirmed"]] == [6, 5, 4], "the most accurate"
    assert [confirmed["trial"] for confirmed in loss["confirmed"]] == [0, 1], "those with the least loss"
    assert studies["s4"]["confirmed"] == []
    schedules = house.get("/v1/schedules?limit=1")["items"]
    assert [run["score"] for run in schedules[0]["last_runs"]] == [0.02, 0.01, 0.0], "newest first"
    assert schedules[0]["champion"]["trial"] == 2


def test_a_later_page_is_found_by_an_index(house_sqlite: Running) -> None:
    house = house_sqlite
    add_study(house, "long", 300)
    for number in range(30):
        add_study(house, f"s{number}", 1)
    engine = house.core.database.engine
    for path in ("/v1/studies/long/trials?limit=100", "/v1/studies?limit=10"):
        cursor = house.get(path)["next_cursor"]
        with statements(house) as sent:
            house.get(f"{path}&cursor={cursor}")
        (page, parameters) = next((s, p) for s, p in sent if "LIMIT" in s and "ORDER BY" in s)
        assert "OFFSET" not in page.replace("LIMIT ? OFFSET ?", "OFFSET" if parameters[-1] else "")
        with engine.connect() as connection:
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {page}", parameters)]
        assert all(step.startswith("SEARCH") for step in plan), plan


@pytest.mark.full
def test_a_sorted_page_of_five_thousand_trials_takes_as_few_queries(house: Running) -> None:
    house.started(house.worker(), budget={"trials": 6000})
    many_trials.add(house, 5000)
    for sort in ("-value", "params.learning_rate", "accuracy"):
        page, queries = items(house, f"/v1/studies/s1/trials?sort={sort}&limit=50", 50)
        assert queries <= 6, sort
    assert [trial["number"] for trial in page] == list(range(50)), "none has a score at its best step: by number"
    best, _ = items(house, "/v1/studies/s1/trials?sort=-value&limit=500", 500)
    values = [trial["value"] for trial in best]
    assert values == sorted(values, reverse=True)
