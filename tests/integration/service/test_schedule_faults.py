"""What comes between a schedule's steps: kills, errors, users who cancel, delete, roll back or change it meanwhile."""

import io
import signal
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from luthier.service.schedules import retention, steps
from luthier.service.schedules.run_rows import Turn
from luthier.service.schedules.steps import Steps
from luthier.service.storage import turns
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import problem
from tests.support.killed_tick import exit_code_of_tick
from tests.support.nightly import BETTER, Nightly

pytestmark = pytest.mark.both_databases


@pytest.mark.full
@pytest.mark.parametrize(
    ("module", "name", "is_old"),
    [
        ("champions", "keep_file", True),
        pytest.param("retention", "sweep", False, marks=pytest.mark.full),  # all is written, nothing is cleaned up
        pytest.param("champions", "promote", True, marks=pytest.mark.full),  # its file is in its place, not its row
    ],
)
def test_a_service_killed_in_a_promotion_leaves_the_old_champion_or_the_new_one_whole(
    nightly: Callable[..., Nightly], module: str, name: str, is_old: bool
) -> None:
    it = nightly()
    it.run("a")
    old = it.champion()
    it.worker.comparison = BETTER
    it.worker.compare(it.until_compared("b"))
    settings = it.house.settings
    assert exit_code_of_tick(settings.home, settings.sqlalchemy_url, module, name, it.now) == -signal.SIGKILL
    assert (it.champion() == old) == is_old
    it.house.move_clock(turns.TURN_SECONDS + 1)
    it.settle()
    assert it.runs()[0]["outcome"] == "promoted"
    assert it.champion() != old
    with tarfile.open(fileobj=io.BytesIO(it.champion())) as archive:
        assert {"model.safetensors", "luthier.json"} <= set(archive.getnames())


@pytest.mark.full
def test_a_rollback_while_old_models_go_keeps_the_one_it_goes_back_to(
    nightly: Callable[..., Nightly], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = nightly(keep_runs=2)
    it.run("a")
    first = it.champion()
    it.worker.comparison = BETTER
    it.run("b")
    remove = retention.deletion.delete_study

    def meanwhile(*known: Any) -> None:
        it.house.client.post("/v1/schedules/nightly/rollback").raise_for_status()
        remove(*known)

    with monkeypatch.context() as patch:
        patch.setattr(retention.deletion, "delete_study", meanwhile)
        it.run("c")  # whose end has the first run's study removed
    it.house.client.post("/v1/schedules/nightly/rollback").raise_for_status()
    assert it.champion() == first


@pytest.mark.full
def test_a_run_that_is_replaced_while_it_is_being_decided_makes_no_champion(
    nightly: Callable[..., Nightly], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = nightly(concurrency="replace")
    first = it.run("a")
    it.worker.comparison = BETTER
    it.worker.compare(it.until_compared("b"))
    conclude = Steps.conclude

    def late(*known: Any) -> None:
        it.trigger().raise_for_status()
        conclude(*known)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "conclude", late)
        it.house.tick(it.now)
    assert [run["state"] for run in it.runs()[:2]] == ["running", "cancelled"]
    assert it.view()["champion"]["run"] == first["id"]


def test_an_error_in_one_run_stops_no_other(nightly: Callable[..., Nightly], monkeypatch: pytest.MonkeyPatch) -> None:
    it = nightly(concurrency="allow")
    it.due()
    it.due()
    broken, begin = it.runs()[1]["id"], Steps.begin

    def begins(self: Steps, turn: Turn) -> None:
        if turn.run_id == broken:
            raise RuntimeError("out of luck")
        begin(self, turn)

    monkeypatch.setattr(Steps, "begin", begins)
    it.settle()
    later, earlier = it.runs()
    assert (later["state"], earlier["state"]) == ("finished", "failed")
    assert "RuntimeError" in earlier["message"]


@pytest.mark.full
def test_a_start_that_is_cut_off_is_done_once(nightly: Callable[..., Nightly], monkeypatch: pytest.MonkeyPatch) -> None:
    it = nightly()
    it.run("a")
    it.data("b")
    it.due()
    it.worker.inspect(it.worker.take(AssignmentKind.INSPECT))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.actions, "resume", killed)  # the old configurations are in the queue
        with pytest.raises(KeyboardInterrupt):
            it.house.tick(it.now)
    it.settle()
    tried, trials = it.runs()[0]["warm_start"], it.house.trials(it.runs()[0]["study"])
    assert [trials[one["trial"]]["params"] for one in tried] == [one["params"] for one in tried]
    assert len(trials) == 3


@pytest.mark.full
def test_a_run_whose_winner_waits_for_its_comparison_can_be_ended(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.run("a")
    it.until_compared("b")
    name = it.runs()[0]["study"]
    for answer in (
        it.house.client.delete("/v1/schedules/nightly"),
        it.house.client.post("/v1/schedules/nightly/trigger"),
    ):
        assert f"delete its study {name}" in problem(answer, 409)["detail"]
    assert it.house.client.delete(f"/v1/studies/{name}").status_code == 204
    it.house.tick(it.now)
    assert it.runs()[0]["state"] == "failed"
    assert it.house.client.delete("/v1/schedules/nightly").status_code == 204


def test_times_that_came_due_before_a_change_are_there(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.house.move_clock(300)
    it.house.client.patch("/v1/schedules/nightly", json={"cron": "0 0 1 1 *"}).raise_for_status()
    assert len(it.runs()) == 5


def test_a_name_that_a_users_study_has_fails_the_run(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    due = datetime.fromtimestamp(it.now + 60, UTC)
    it.house.create(f"nightly-{due:%Y%m%dt%H%M%Sz}")
    it.due()
    assert it.runs()[0]["state"] == "failed"
    assert "already" in it.runs()[0]["message"]


def test_a_run_whose_study_is_cancelled_or_deleted_ends(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.due()
    name = it.runs()[0]["study"]
    it.house.client.post(f"/v1/studies/{name}/cancel")
    it.house.tick(it.now)
    assert (it.runs()[0]["state"], it.runs()[0]["message"]) == ("cancelled", "Cancelled on request.")
    it.due()
    name = it.runs()[0]["study"]
    problem(it.house.client.delete("/v1/schedules/nightly"), 409)
    it.house.client.post(f"/v1/studies/{name}/cancel")
    assert it.house.client.delete(f"/v1/studies/{name}").status_code == 204
    it.house.tick(it.now)
    assert (it.runs()[0]["state"], it.runs()[0]["message"]) == ("failed", "Its study was deleted.")
    assert it.house.client.delete("/v1/schedules/nightly").status_code == 204
    problem(it.house.client.get("/v1/schedules/nightly"), 404)


@pytest.mark.full
def test_a_champion_whose_study_is_deleted_is_still_whole(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    first = it.run("a")
    model = it.champion()
    assert it.house.client.delete(f"/v1/studies/{first['study']}").status_code == 204
    assert it.champion() == model
    assert it.run("b")["outcome"] == "kept"


@pytest.mark.full
def test_a_challenger_is_compared_with_the_model_in_use_when_it_is_judged(nightly: Callable[..., Nightly]) -> None:
    """A rollback while the comparison runs: the winner has to beat the model that is in use then."""
    it = nightly()
    first = it.run("a")
    it.worker.comparison = BETTER
    it.run("b")
    compared = it.until_compared("c")
    it.house.client.post("/v1/schedules/nightly/rollback")
    it.worker.compare(compared)
    it.house.tick(it.now)
    assert it.runs()[0]["state"] == "running"
    assert it.view()["champion"]["study"] == first["study"]
    it.settle()
    assert it.runs()[0]["outcome"] == "promoted"
