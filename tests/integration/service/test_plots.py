"""/v1/studies/{name}/plots: pages and JSON, bounded, kept until a trial ends, drawn one at a time."""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from luthier.service.api import drawings, plots
from luthier.studies.protocol import AssignmentKind
from luthier.studies.search import figures
from tests.support.harness import Running, ScriptedWorker, problem, running
from tests.support.many_trials import add

PLOTS = ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline")
MANY = 1_500


class Drawn:
    """Counts what is drawn, and can hold it up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[str] = []
        self.at_once = self.most_at_once = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self._draw = figures.draw
        monkeypatch.setattr(figures, "draw", self)

    def __call__(self, kind: str, *arguments: Any) -> Any:
        self.kinds.append(kind)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.go_on.wait(30)
            return self._draw(kind, *arguments)
        finally:
            self.at_once -= 1


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A study of so many trials that no plot shows them all."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        house.started(house.worker(), budget={"trials": 10_000})
        add(house, MANY)
        yield house


def path(kind: str, format: str = "json") -> str:
    return f"/v1/studies/s1/plots/{kind}?format={format}"


def test_every_plot_is_drawn_as_page_and_as_json(house: Running) -> None:
    house.finished(budget={"trials": 6})
    for kind in PLOTS:
        assert house.get(path(kind))["data"], kind
        page = house.client.get(path(kind, "html"))
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "<html" in page.text[:200]
        assert 'src="http' not in page.text, "a page needs no other site"
    problem(house.client.get("/v1/studies/s1/plots/pie"), 422)
    problem(house.client.get(path("history", "gif")), 422)


@pytest.mark.parametrize("kind", ["history", *(pytest.param(kind, marks=pytest.mark.full) for kind in PLOTS[1:])])
def test_every_plot_is_a_picture(large: Running, kind: str) -> None:
    answer = large.client.get(path(kind, "png"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert min(picture.size) > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn on it
    assert large.client.get(path(kind, "png")).content == answer.content


def test_a_plot_with_nothing_to_draw_is_a_conflict_or_empty(house: Running, worker: ScriptedWorker) -> None:
    house.create()
    for kind in PLOTS:
        problem(house.client.get(path(kind)), 409)
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    for kind in PLOTS:
        assert house.client.get(path(kind)).status_code in (200, 409), kind


@pytest.mark.parametrize("kind", ["parallel", "slice", "contour", "intermediate", "timeline"])
def test_a_plot_of_many_trials_is_bounded_and_says_so(large: Running, kind: str) -> None:
    answer = large.client.get(path(kind))
    assert answer.status_code == 200
    assert len(answer.content) < 2**20
    assert " trials shown: the best, and an even sample" in answer.json()["layout"]["title"]["subtitle"]["text"]


@pytest.mark.full
def test_the_dashboards_plots_are_bounded_too(large: Running) -> None:
    study_id = large.get("/api/studies")["study_summaries"][0]["study_id"]
    for kind in ("contour", "slice", "parallel_coordinate", "rank", "edf", "timeline"):
        answer = large.client.get(f"/api/studies/{study_id}/plot/{kind}")
        assert answer.status_code == 200, kind
        assert len(answer.content) <= figures.MAX_BYTES, kind
        assert answer.json()["data"], kind
    assert "width" not in large.get(f"/api/studies/{study_id}/plot/slice")["layout"]
    problem(large.client.get(f"/api/studies/{study_id}/plot/pie"), 404)
    problem(large.client.get("/api/studies/99/plot/edf"), 404)
    problem(large.client.post(f"/api/studies/{study_id}/plot/edf"), 405)


def test_plotly_is_served_once_and_kept(large: Running) -> None:
    page = large.client.get(path("slice", "html"))
    assert len(page.content) < 2**20
    sources = [part.split('"')[0] for part in page.text.split('<script src="')[1:]]
    assert len(sources) == 2
    assert "script-src 'self';" in page.headers["content-security-policy"]
    scripts = [large.client.get(source) for source in sources]
    for script in scripts:
        assert script.status_code == 200
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert len(scripts[0].content) > 4_000_000
    problem(large.client.get("/assets/plotly-0.1.min.js"), 404)
    whole = large.client.get(path("slice", "html") + "&standalone=true")
    assert whole.headers["content-disposition"] == 'attachment; filename="s1-slice.html"'
    assert "<script src" not in whole.text
    for script in scripts:
        assert script.text in whole.text


def test_a_plot_is_kept_until_a_trial_ends(house: Running, worker: ScriptedWorker, drawn: Drawn) -> None:
    house.started(worker, parallel=1)
    worker.train(worker.take())
    first = [house.client.get(path("history", format)) for format in ("json", "html", "json")]
    assert drawn.kinds == ["history"]
    assert first[0].content == first[2].content
    trial = worker.take()
    worker.report(trial, 1, 0.8)
    assert house.client.get(path("history")).content == first[0].content
    assert drawn.kinds == ["history"]
    worker.report(trial, 2, 0.9)
    worker.finish(trial, "complete")
    assert len(house.get(path("history"))["data"][0]["x"]) == 2
    assert drawn.kinds == ["history"] * 2
    house.client.post("/v1/studies/s1/cancel")
    assert house.client.delete("/v1/studies/s1").status_code == 204
    problem(house.client.get(path("history")), 404)
    house.started(worker)
    problem(house.client.get(path("history")), 409)


@pytest.mark.full
def test_running_trials_appear_after_a_while(
    house: Running, worker: ScriptedWorker, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker)
    trial = worker.take()
    worker.report(trial, 1, 0.8)
    assert house.get(path("intermediate"))["data"][0]["x"] == [1]
    worker.report(trial, 2, 0.9)
    assert house.get(path("intermediate"))["data"][0]["x"] == [1]
    assert drawn.kinds == ["intermediate"]
    monkeypatch.setattr(plots, "LIVE_SECONDS", 0.0)
    assert house.get(path("intermediate"))["data"][0]["x"] == [1, 2]
    worker.finish(trial, "complete")
    before = len(drawn.kinds)
    house.get(path("timeline"))
    house.get(path("timeline"))
    assert len(drawn.kinds) == before + 1  # nothing runs, so nothing can change


def test_what_optuna_does_not_know_yet_is_not_kept(
    house: Running, worker: ScriptedWorker, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, parallel=1)
    worker.train(worker.take())
    trial = worker.take()
    with monkeypatch.context() as patch:  # a crash between the two writes
        patch.setattr(type(house.core.searches), "tell", lambda *_: None)
        worker.report(trial, 1, 0.8)
        worker.finish(trial, "complete")
        assert len(house.get(path("history"))["data"][0]["x"]) == 1
    house.reap()
    assert len(house.get(path("history"))["data"][0]["x"]) == 2


@pytest.mark.full
def test_forty_at_once_are_drawn_one_at_a_time_and_others_are_served(large: Running, drawn: Drawn) -> None:
    drawn.go_on.clear()
    add(large, 1)  # what was kept so far is not of this version
    kinds = [PLOTS[i % 2] for i in range(40)]
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(httpx.get, large.url + path(kind), timeout=60) for kind in kinds]
        deadline = time.monotonic() + 30
        while not drawn.kinds and time.monotonic() < deadline:
            time.sleep(0.01)
        served = large.client.get("/v1/studies/s1", timeout=10)
        drawn.go_on.set()
        answers = [answer.result() for answer in asked]
    assert served.status_code == 200
    assert {answer.status_code for answer in answers} == {200}
    assert drawn.most_at_once == 1
    assert sorted(drawn.kinds) == ["history", "importance"]


def test_who_waits_too_long_is_told_when_to_come_back(
    large: Running, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "WAIT_SECONDS", 0.1)
    drawn.go_on.clear()
    add(large, 1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.get, large.url + path("slice"), timeout=60)
        deadline = time.monotonic() + 30
        while not drawn.kinds and time.monotonic() < deadline:
            time.sleep(0.01)
        second = large.client.get(path("history"))
        drawn.go_on.set()
        assert first.result().status_code == 200
    problem(second, 503)
    assert second.headers["retry-after"] == "2"
    assert large.client.get(path("history")).status_code == 200


def test_plots_of_two_services_follow_one_database(tmp_path: Path, database_url: str) -> None:
    """A trial that ends at another service changes the plots here."""
    with running(tmp_path / "a", database_url) as a, running(tmp_path / "b", database_url) as b:
        for house in (a, b, a):
            house.reap()
        worker = a.worker()
        a.started(worker)
        for count in (1, 2):
            worker.train(worker.take())
            assert len(b.get(path("history"))["data"][0]["x"]) == count
