"""Schedules after their runs: retention, changes, and their pages."""

from collections.abc import Callable

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import paths
from tests.support.nightly import BETTER, Nightly, template


@pytest.mark.full
def test_old_studies_go_and_the_champion_stays(nightly: Callable[..., Nightly]) -> None:
    it = nightly(keep_runs=1)
    it.run("a")
    model = it.champion()
    for letter in "bcd":
        assert it.run(letter)["outcome"] == "kept"
    names = [study["name"] for study in it.house.get("/v1/studies")["items"]]
    assert names == [it.runs()[0]["study"]]
    assert it.champion() == model
    it.worker.comparison = BETTER
    it.run("e")
    store = it.house.settings.home / "store"
    assert len(list((store / "schedule-1").iterdir())) == 2  # the champion's, and that of the one before
    it.house.client.post("/v1/schedules/nightly/rollback")
    assert it.champion() == model


def test_a_patch_is_checked_as_a_whole_and_changes_nothing_when_it_is_wrong(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    before = it.view()["spec"]
    for changes, path in (
        ({"cron": "no"}, "cron"),
        ({"name": "other"}, "name"),
        ({"study": template(task="token-classification")}, "study.task"),
        ({"keep_runs": 0}, "keep_runs"),
    ):
        assert path in paths(it.house.client.patch("/v1/schedules/nightly", json=changes))
    assert it.view()["spec"] == before
    changed = it.house.client.patch("/v1/schedules/nightly", json={"keep_runs": 3, "promote": None}).json()["spec"]
    assert changed == before | {"keep_runs": 3, "promote": changed["promote"]}
    assert changed["promote"]["seeds"] == 3


@pytest.mark.full
def test_the_score_of_the_model_in_use_is_drawn_over_time(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.run("a")
    it.run("b")
    plot = it.house.get("/v1/schedules/nightly/plots/champion?format=json")
    in_use = next(trace for trace in plot["data"] if trace["name"] == "model in use")
    assert in_use["y"] == [0.75, 0.8]
    assert len(in_use["x"]) == 2


def test_a_message_is_no_markup_on_the_pages(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.due()
    inspection = it.worker.take(AssignmentKind.INSPECT)
    problem = {"message": "<script>alert(1)</script> does not exist."}
    it.worker.finish(inspection, "failed", reason="bad_data", problem=problem)
    it.house.tick(it.now)
    for path in ("/schedules", "/schedules/nightly"):
        page = it.house.client.get(path)
        assert page.status_code == 200
        assert "failed" in page.text
        assert "<script>" not in page.text
        assert "script-src 'self';" in page.headers["content-security-policy"], "files of ours alone"
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; does not exist." in page.text
