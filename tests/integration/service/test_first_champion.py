"""A schedule's first champion must be worth it: else nothing is in use, run and page say why, and it is tried again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from pydantic import SecretStr

from luthier.service.storage.schedule_tables import DeliveryRow, ScheduleRow
from luthier.studies.results import Majority
from luthier.studies.semantics import FIRST_IS_EARNED
from tests.support.harness import INSPECTION, Running, paths, problem, running
from tests.support.nightly import BETTER, Nightly, schedule

WHY = "Nothing is in use: the winner's accuracy on test is 0.7500, and always answering 'ham' alone has 0.8000. "


def against(it: Nightly, accuracy: float) -> Nightly:
    """Let the most frequent answer have this accuracy; winners of the scripted worker have 0.75."""
    scores = {"accuracy": accuracy, "loss": 0.6}
    majority = Majority(label="ham", validation=scores, test=scores)
    it.inspection = INSPECTION.model_copy(update={"majority": majority})
    return it


def winners(it: Nightly, accuracy: float) -> None:
    it.worker.evaluation = {"test": {"accuracy": accuracy, "loss": 0.4}}


@pytest.mark.full
@pytest.mark.both_databases
def test_nothing_is_in_use_until_a_winner_beats_the_most_frequent_answer(nightly: Callable[..., Nightly]) -> None:
    it = against(nightly(), 0.8)
    first = it.run("a")
    assert (first["state"], first["outcome"], first["decision"], first["score"]) == ("finished", "refused", None, None)
    assert first["message"].startswith(WHY)
    assert "no better than" not in first["message"], "that is said once"
    view = it.view()
    assert (view["champion"], view["note"]) == (None, first["message"])
    problem(it.house.client.get("/v1/schedules/nightly/champion"), 404)
    page = it.house.client.get("/schedules/nightly").text
    assert "Nothing is in use: the winner" in page
    assert "always answering &#39;ham&#39; alone has 0.8000" in page
    assert it.house.client.get("/v1/schedules/nightly/plots/champion?format=json").status_code == 200

    winners(it, 0.85)
    again = it.run("a")
    assert (again["state"], again["outcome"]) == ("finished", "first"), "it is tried again, also on the same data"
    assert again["warm_start"], "with the best of the last run first"
    view = it.view()
    assert (view["champion"]["run"], view["champion"]["test"]["accuracy"], view["note"]) == (again["id"], 0.85, None)
    assert it.run("a")["reason"] == "unchanged"


@pytest.mark.full
def test_a_minimum_of_the_schedule_takes_its_place_and_holds_for_later_ones(nightly: Callable[..., Nightly]) -> None:
    it = against(nightly(promote={"candidates": 2, "seeds": 2, "minimum": 0.76}), 0.9)
    refused = it.run("a")
    assert refused["outcome"] == "refused"
    assert refused["message"] == (
        "Nothing is in use: the winner has accuracy 0.7500 on test, and promote.minimum asks for 0.76. "
        "The next run tries again."
    )
    lower = {"promote": {"candidates": 2, "seeds": 2, "minimum": 0.7}}
    assert it.house.client.patch("/v1/schedules/nightly", json=lower).status_code == 200
    assert it.run("a")["outcome"] == "first", "a lower minimum counts at once"

    higher = {"promote": {"candidates": 2, "seeds": 2, "minimum": 0.95}}
    it.house.client.patch("/v1/schedules/nightly", json=higher).raise_for_status()
    it.worker.comparison = BETTER
    kept = it.run("b")
    assert kept["outcome"] == "kept"
    assert "the challenger has 0.9000 accuracy, and promote.minimum asks for 0.95" in kept["message"]
    it.house.client.patch("/v1/schedules/nightly", json=lower).raise_for_status()
    assert it.run("c")["outcome"] == "promoted"


@pytest.mark.full
def test_its_webhook_hears_of_the_end_and_of_no_promotion(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, webhook_url=SecretStr("http://127.0.0.1:9/hook")) as house:
        it = against(Nightly(house, house.worker()), 0.8)
        it.run("a")
        with house.core.database.reading() as session:
            assert list(session.scalars(sqlalchemy.select(DeliveryRow.event))) == ["finished"]


@pytest.mark.full
def test_a_schedule_of_before_takes_any_winner(nightly: Callable[..., Nightly]) -> None:
    it = against(nightly(), 0.8)
    with it.house.core.database.transaction() as session:
        row = session.scalars(sqlalchemy.select(ScheduleRow)).one()
        row.spec = row.spec.with_semantics(FIRST_IS_EARNED - 1)
    assert it.run("a")["outcome"] == "first"


@pytest.mark.full
def test_a_first_champion_within_the_noise_is_said_to_be(nightly: Callable[..., Nightly]) -> None:
    it = against(nightly(), 0.74)
    interval: dict[str, Any] = {"low": 0.6, "high": 0.86, "level": 0.95, "method": "wilson"}
    it.worker.evaluation = {"sampling": {"standard_error": 0.05, "interval": interval}}
    run = it.run("a")
    assert run["outcome"] == "first"
    assert run["message"] == (
        "The first champion. Its accuracy of 0.7500 on test may be chance: the 95% interval 0.6000 to 0.8600 holds the "
        "0.7400 of always answering 'ham'."
    )


def test_before_a_run_has_ended_the_note_says_so(nightly: Callable[..., Nightly]) -> None:
    assert nightly().view()["note"] == "No run has ended with a winner yet."


def test_a_minimum_that_no_share_can_reach_is_refused(house_sqlite: Running) -> None:
    answer = house_sqlite.client.post("/v1/schedules", json=schedule(promote={"minimum": 80}))
    assert paths(answer) == {"promote.minimum"}
    assert "must be from 0 to 1, as accuracy is a share: 0.8 for 80 %" in answer.text
