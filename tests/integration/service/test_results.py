"""The winner's tables, and a study's report: as they were measured, escaped, without another host."""

import json
import re

import pytest

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
