"""The winner's tables, and a study's report: as they were measured, escaped, without another host."""

import json
import re

import pytest

from luthier.service.api import plots
from luthier.studies import bundles
from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.harness import Running, ScriptedWorker, problem

LABEL = "<script>alert(1)</script>"
TABLES = {
    "rows": 15,
    "metrics": {"accuracy": 0.75},
    "classes": [{"label": LABEL, "precision": 0.5, "recall": None, "f1": 0.4, "support": 5, "predicted": 6}],
    "confusion": {"labels": ["ham", LABEL], "counts": [[9, 1], [2, 3]]},
    "calibration": {
        "expected_error": 0.1,
        "bins": [{"low": 0.9, "high": 1.0, "count": 0, "confidence": None, "accuracy": None}],
    },
    "worst": [{"row": 3, "input": "a" * 300, "truth": "ham", "prediction": LABEL, "score": 0.9, "loss": 2.5}],
}


@pytest.mark.both_databases
def test_the_tables_of_a_winner_are_kept_as_they_were_measured(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 1})
    assert "no results yet" in problem(house.client.get("/v1/studies/s1/results"), 409)["detail"]
    worker.evaluation = {"results": {"test": TABLES}}
    worker.drain()
    found = house.get("/v1/studies/s1/results")
    assert (found["study"], found["trial"], found["metric"], found["validation"]) == ("s1", 0, "accuracy", None)
    shown = found["test"]
    assert (shown["classes"], shown["confusion"]) == (TABLES["classes"], TABLES["confusion"])
    assert len(shown["worst"][0]["input"]) == 200, "texts are cut"
    worker.evaluation = {}
    house.create("older", budget={"trials": 1})
    worker.drain()
    older = house.get("/v1/studies/older/results")
    assert (older["validation"], older["test"]) == (None, None)
    problem(house.client.get("/v1/studies/nowhere/results"), 404)


def test_a_report_is_one_file_that_asks_no_other_host(house: Running, worker: ScriptedWorker) -> None:
    worker.evaluation = {"results": {"test": TABLES}}
    house.create(budget={"trials": 2})
    early = house.client.get("/v1/studies/s1/report")
    assert early.status_code == 200, "a study that has not begun has a report, too"
    worker.drain()
    answer = house.client.get("/v1/studies/s1/report")
    assert answer.headers["content-disposition"] == 'attachment; filename="s1-report.html"'
    page, script, drawn = answer.text.split("<script>")
    assert len(script) > 1_000_000, "plotly comes along"
    assert "Plotly.newPlot" in drawn
    assert "src=" not in page
    assert "href=" not in page
    assert LABEL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    figures = re.findall(r'<script type="application/json">(.*?)</script>', answer.text, re.DOTALL)
    assert len(figures) >= 3
    assert all(json.loads(figure)["data"] for figure in figures)
    for part in ("Winner: trial", "By class, on test", "Best 2 trials", "Calibration on test"):
        assert part in page
    problem(house.client.get("/v1/studies/nowhere/report"), 404)


def test_what_takes_long_to_make_is_not_made_for_its_headers(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.create(budget={"trials": 1})
    worker.drain()
    paths = ("/v1/studies/s1/report", "/v1/studies/s1/bundle")
    told = ("content-type", "content-disposition", "cache-control", "content-security-policy")
    whole = [house.client.get(path).headers for path in paths]
    made: list[str] = []
    monkeypatch.setattr(plots, "figure_of", lambda *_: made.append("a figure"))
    monkeypatch.setattr(bundles, "write_bundle", lambda *_: made.append("a bundle"))
    for path, headers in zip(paths, whole, strict=True):
        answer = house.client.head(path)
        assert (answer.status_code, answer.headers.get("content-length")) == (200, None)
        assert {name: answer.headers[name] for name in told} == {name: headers[name] for name in told}
    assert made == []
    for path in ("/v1/studies/nowhere/report", "/v1/studies/nowhere/bundle"):
        assert house.client.head(path).status_code == 404
    house.create("early")
    assert house.client.head("/v1/studies/early/bundle?model=true").status_code == 409


def test_a_report_says_how_exact_its_scores_are(house: Running, worker: ScriptedWorker) -> None:
    interval = {"low": 0.6125, "high": 0.8625, "level": 0.95, "method": "wilson"}
    baseline = {"test": {"accuracy": 0.6875, "loss": 0.5}, "interval": interval | {"low": 0.5125}}
    pair = {"split": "test", "examples": 40, "labelled_units": 40, "independent": True, "gained": 4, "lost": 2}
    pair |= {"winner": 0.75, "baseline": 0.6875}
    sampling = {"standard_error": 0.0475, "interval": interval, "baseline": baseline, "pair": pair}
    house.started(worker, parallel=1, budget={"trials": 2})
    for value in (0.6, 0.8):
        worker.score = lambda params, step, value=value: value - 0.01 * step  # type: ignore[misc]
        worker.train(worker.take())
    worker.evaluation = {"sampling": sampling}
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    page = house.client.get("/v1/studies/s1/report").text.partition("<script>")[0]
    for part in ("0.0475", "0.6875", "0.6125 to 0.8625", "0.5125 to 0.8625", "mcnemar"):
        assert f"<td>{part}</td>" in page
    assert "Gain over the baseline in accuracy, on test" in page
    assert "is within the noise and may be chance" in page


@pytest.mark.full
def test_an_external_study_has_a_report_and_no_tables(house: Running) -> None:
    house.client.post("/v1/studies", json=external.document(budget={"trials": 1})).raise_for_status()
    token = house.client.post("/v1/studies/tuning/ask", json={}).json()["token"]
    said = {"token": token, "step": 1, "metrics": {"score": 0.4375}}
    house.client.post("/v1/studies/tuning/report", json=said).raise_for_status()
    house.client.post("/v1/studies/tuning/tell", json={"token": token}).raise_for_status()
    assert house.study("tuning")["state"] == "completed"
    assert "its trainer is its user's own" in problem(house.client.get("/v1/studies/tuning/results"), 409)["detail"]
    answer = house.client.get("/v1/studies/tuning/report")
    assert answer.status_code == 200
    assert "Winner: trial 0" in answer.text
    assert "<td>0.4375</td>" in answer.text
