"""Schedules over REST: what is refused, what a due time becomes, runs, champions, rollback, retention."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from luthier.studies.results import ModelSummary
from tests.support.harness import INSPECTION, Running, paths, problem, spec
from tests.support.nightly import BETTER, Nightly, schedule, template

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"timezone": "../../../etc/passwd"}, "timezone"),
        ({"study": template(task="cooking")}, "study.task"),
        ({"study": template(space={"learning_rate": {"low": 1e-3, "high": 1e-4}})}, "study.space.learning_rate.low"),
        ({"study": template(dataset={"source": "data/sms.csv", "test": 0})}, "study.dataset.test"),
        ({"study": spec()}, "study.name"),
        ({"study": 7}, "study"),
        ({"promote": {"confidence": 1.0}}, "promote.confidence"),
        ({"promote": {"margin": float("inf")}}, "promote.margin"),
        ({"concurrency": "maybe"}, "concurrency"),
        ({"colour": "red"}, "colour"),
        ({"name": "x" * 47}, "name"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path_and_nothing_is_stored(
    house_sqlite: Running, changes: dict[str, Any], path: str
) -> None:
    document = json.dumps(schedule(**changes))
    answer = house_sqlite.client.post("/v1/schedules", content=document.replace("Infinity", "1e999"))
    assert path in paths(answer)
    assert house_sqlite.get("/v1/schedules")["items"] == []
    problem(house_sqlite.client.get("/v1/schedules/nightly"), 404)


def test_the_same_schedule_again_is_the_same_and_another_is_refused(nightly: Callable[..., Nightly]) -> None:
    house = nightly().house
    assert house.client.post("/v1/schedules", json=schedule()).status_code == 200
    problem(house.client.post("/v1/schedules", json=schedule(cron="0 * * * *")), 409)
    assert [item["name"] for item in house.get("/v1/schedules")["items"]] == ["nightly"]


def test_every_answer_shows_the_next_due_times(nightly: Callable[..., Nightly]) -> None:
    house = nightly(cron="0 3 * * mon", timezone="Europe/Berlin").house
    view = house.get("/v1/schedules/nightly")
    times = [datetime.fromisoformat(text) for text in view["next"]]
    assert len(times) == 5
    assert all(b - a in (timedelta(days=7), timedelta(days=7, hours=1)) for a, b in pairwise(times))
    assert {t.weekday() for t in times} == {0}
    assert view["state"] == "active"
    house.client.patch("/v1/schedules/nightly", json={"paused": True})
    assert house.get("/v1/schedules/nightly")["state"] == "paused"


def test_a_schedule_finds_a_champion_skips_what_is_unchanged_and_promotes_what_is_better(
    nightly: Callable[..., Nightly],
) -> None:
    it = nightly()
    first = it.run("a")
    assert (first["state"], first["outcome"], first["decision"]) == ("finished", "first", None)
    study = it.house.study(first["study"])
    due = datetime.fromtimestamp(it.now, UTC)
    assert first["study"] == f"nightly-{due:%Y%m%dt%H%M%Sz}"
    assert (study["state"], study["counts"]["complete"]) == ("completed", 3)
    assert [len(c["values"]) for c in study["confirmed"]] == [2, 2]
    assert it.view()["champion"]["study"] == first["study"]

    again = it.run("a")
    assert (again["state"], again["reason"], again["study"]) == ("skipped", "unchanged", None)
    assert [s["name"] for s in it.house.get("/v1/studies")["items"]] == [first["study"]]

    worker = it.worker
    worker.comparison = BETTER
    better = it.run("b")
    assert (better["state"], better["outcome"]) == ("finished", "promoted")
    decision = better["decision"]
    assert decision["test"]["name"] == "mcnemar"
    assert decision["test"]["p_value"] == pytest.approx(106 / 2**14)
    assert decision["difference"] == pytest.approx(0.1)
    assert decision["promoted"]
    assert better["score"] == 0.9
    assert it.view()["champion"]["run"] == better["id"]
    contest, now = decision["contest"], it.view()["champion"]
    assert [contest[side]["run"] for side in ("champion", "challenger")] == [first["id"], better["id"]]
    assert contest["challenger"] == {key: now[key] for key in ("run", "study", "trial", "params")}
    assert [contest[key]["fingerprint"][0] for key in ("data_before", "data")] == ["a", "b"]
    assert contest["data"]["labels"] == INSPECTION.labels
    assert "the data is another" in contest["changed"]
    promoted = it.champion()

    worker.comparison = {}
    kept = it.run("c")
    assert kept["outcome"] == "kept"
    assert "may be chance" in kept["message"]
    assert kept["score"] == 0.8
    assert it.champion() == promoted

    _roll_back_once(it, first["study"])
    assert it.champion() != promoted


def _roll_back_once(it: Nightly, study: str) -> None:
    """The champion of `study` is in use again, and no other came before it."""
    rolled = it.house.client.post("/v1/schedules/nightly/rollback").json()
    assert rolled["champion"]["study"] == study
    problem(it.house.client.post("/v1/schedules/nightly/rollback"), 409)


def test_the_best_of_the_last_run_are_tried_first_on_the_new_data(nightly: Callable[..., Nightly]) -> None:
    it = nightly(warm_start={"top": 2})
    first = it.run("a")
    before = {t["number"]: t["params"] for t in it.house.trials(first["study"])}
    narrow = template()
    narrow["space"]["learning_rate"]["high"] = 2e-4
    narrow["space"]["batch_size"] = [8]
    assert it.house.client.patch("/v1/schedules/nightly", json={"study": narrow}).status_code == 200
    second = it.run("b")
    tried = second["warm_start"]
    trials = {t["number"]: t for t in it.house.trials(second["study"])}
    assert len(tried) == 2
    for one in tried:
        old, clamped = before[one["from_trial"]], one["params"]
        assert clamped["learning_rate"] == min(old["learning_rate"], 2e-4)
        assert clamped["batch_size"] == 8
        said = " ".join(one["changes"])
        assert (f"batch_size {old['batch_size']}" in said) == (old["batch_size"] != 8)
        if one["trial"] is not None:
            assert trials[one["trial"]]["params"] == clamped
            assert trials[one["trial"]]["value"] is not None


@pytest.mark.full
def test_the_best_of_several_models_are_tried_first_too(nightly: Callable[..., Nightly]) -> None:
    space = {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "batch_size": [8, 16]}
    it = nightly(warm_start={"top": 2}, study=template(model=["models/a", "models/b"], space=space))
    further = ModelSummary(blocks=INSPECTION.blocks, trainable_parameters=INSPECTION.trainable_parameters)
    it.inspection = INSPECTION.model_copy(update={"further_models": [further], "max_length": 40})
    first = it.run("a")
    before = {t["number"]: t["params"] for t in it.house.trials(first["study"])}
    second = it.run("b")
    trials = {t["number"]: t["params"] for t in it.house.trials(second["study"])}
    tried = [one for one in second["warm_start"] if one["trial"] is not None]
    assert tried
    for one in tried:
        assert trials[one["trial"]] == before[one["from_trial"]] == one["params"]
        assert one["changes"] == []
    others = [one["changes"] for one in second["warm_start"] if one["trial"] is None]
    assert all("is trial 0 of" in reason for (reason,) in others)  # the baseline, which every study tries first


@pytest.mark.full
def test_a_study_that_fails_fails_the_run_and_the_next_due_time_tries_again(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.run("a")
    model = it.champion()
    it.due()
    gone = it.worker.take(AssignmentKind.INSPECT)
    it.worker.finish(gone, "failed", reason="bad_data", problem={"message": "data/sms.csv does not exist."})
    it.house.tick(it.now)
    failed = it.runs()[0]
    assert (failed["state"], failed["message"]) == ("failed", "data/sms.csv does not exist.")
    assert it.champion() == model
    assert it.run("b")["state"] == "finished"


@pytest.mark.full
@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_without_a_complete_trial_says_how_its_trials_ended(
    nightly: Callable[..., Nightly], stopped: bool
) -> None:
    it = nightly()
    it.due()
    it.worker.inspect(it.worker.take(AssignmentKind.INSPECT))
    it.house.tick(it.now)
    while (a := it.worker.claim()) is not None:
        it.worker.finish(a, "pruned", reason="diverged")
        if stopped:
            it.house.client.post(f"/v1/studies/{it.runs()[0]['study']}/stop")
    it.house.tick(it.now)
    run = it.runs()[0]
    assert run["state"] == "failed"
    assert "diverged, their loss became NaN or infinite (lower space.learning_rate.high" in run["message"]


@pytest.mark.parametrize(
    ("concurrency", "first", "second"),
    [
        ("forbid", ("running", None), ("skipped", "still_running")),
        ("replace", ("cancelled", None), ("running", None)),
        ("allow", ("running", None), ("running", None)),
    ],
)
def test_concurrency(
    nightly: Callable[..., Nightly], concurrency: str, first: tuple[str, Any], second: tuple[str, Any]
) -> None:
    it = nightly(concurrency=concurrency)
    it.due()
    it.due()
    later, earlier = it.runs()
    assert (earlier["state"], earlier["reason"]) == first
    assert (later["state"], later["reason"]) == second
    if concurrency == "replace":
        assert it.house.study(earlier["study"])["state"] == "cancelled"
    if concurrency == "forbid":
        problem(it.house.client.post("/v1/schedules/nightly/trigger"), 409)


def test_after_an_absence_the_latest_due_time_runs_and_the_others_are_written_down(
    nightly: Callable[..., Nightly],
) -> None:
    it = nightly()
    it.due(minutes=700)  # more than one batch
    runs = it.runs()
    assert runs[0]["state"] == "running"
    assert len(runs) == 500
    rest = it.house.get(f"/v1/schedules/nightly/runs?limit=500&cursor={_cursor(it)}")["items"]
    every = runs + rest
    assert len(every) == 700
    assert {run["reason"] for run in every[1:]} == {"too_late"}
    assert len({run["due_at"] for run in every}) == 700


def _cursor(it: Nightly) -> str:
    return str(it.house.get("/v1/schedules/nightly/runs?limit=500")["next_cursor"])


@pytest.mark.parametrize(
    ("changes", "late", "reason"),
    [
        ({"catch_up": "none"}, 61, "too_late"),
        ({"catch_up": "none"}, 59, None),
        ({"starting_deadline_seconds": 30}, 31, "too_late"),
        ({"starting_deadline_seconds": 30}, 29, None),
        ({"catch_up": "none", "starting_deadline_seconds": 600}, 599, None),
        ({"paused": True}, 0, "paused"),
    ],
)
def test_a_late_or_paused_due_time(
    nightly: Callable[..., Nightly], changes: dict[str, Any], late: int, reason: str | None
) -> None:
    it = nightly(cron="*/30 * * * *", **changes)
    due = datetime.fromisoformat(it.view()["next"][0]).timestamp()
    it.house.tick(due + late)
    (run,) = it.runs()
    assert run["reason"] == reason
    assert run["state"] == ("skipped" if reason else "running")
    assert datetime.fromisoformat(run["due_at"]).timestamp() == due


@pytest.mark.full
def test_a_user_may_run_it_now_also_of_unchanged_data_and_while_it_is_paused(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.run("a")
    it.house.client.patch("/v1/schedules/nightly", json={"paused": True})
    triggered = it.trigger()
    assert triggered.status_code == 201
    assert triggered.json()["trigger"] == "manual"
    it.settle()
    assert it.runs()[0]["outcome"] == "kept"


def test_runs_by_hand_do_not_count(nightly: Callable[..., Nightly]) -> None:
    it = nightly(max_runs=1, concurrency="allow")
    for _ in range(2):
        assert it.trigger().status_code == 201
        it.house.move_clock(2)
    assert it.view()["state"] == "active"
    assert len(it.view()["next"]) == 1


@pytest.mark.full
def test_it_ends_after_its_last_run_and_goes_on_when_it_is_given_more(nightly: Callable[..., Nightly]) -> None:
    it = nightly(max_runs=1)
    it.run("a")
    it.due()
    assert it.view()["state"] == "ended"
    assert it.view()["next"] == []
    assert len(it.runs()) == 1
    it.house.client.patch("/v1/schedules/nightly", json={"max_runs": 3})
    assert len(it.view()["next"]) == 2


@pytest.mark.full
def test_an_unchanged_run_does_not_count(nightly: Callable[..., Nightly]) -> None:
    it = nightly(max_runs=2)
    it.run("a")
    it.run("a")
    assert it.view()["state"] == "active"
    assert len(it.view()["next"]) == 1
