"""The pages of a winner without a browser: it answers a table, its tables are shown; and what a reader may do."""

import html
import re
from typing import Any

import httpx
import pytest

from tests.integration.service.test_results import LABEL, TABLES
from tests.support.forms import post, refused
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.stored_rows import everything
from tests.support.uploads import stored

EVIL = {"Origin": "https://evil.example"}
TABLE = b"id,text\n7,hello\n8,good bye\n"


def ask(house: Running, content: bytes = TABLE, file: str = "new.csv", **headers: str) -> httpx.Response:
    return post(house, "/studies/s1/predict", {}, {"file": (file, content)}, **headers)


def test_a_table_is_uploaded_answered_downloaded_and_deleted(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 1})
    page = house.client.get("/studies/s1/predict").text
    assert "has no winner to predict with" in page
    assert "<form" not in page
    refused(ask(house), 409, "has no winner")
    worker.drain()
    assert 'href="/studies/s1/predict"' in house.client.get("/studies/s1").text
    page = house.client.get("/studies/s1/predict").text
    assert "with the column <code>text</code>" in page
    assert "data-live" not in page
    before = stored(house)
    refused(ask(house, file="<b>.zip"), 422, "'<b>.zip' is of no kind that is read. Tables: csv, tsv")
    refused(ask(house, b""), 422, "is empty")
    assert ask(house, **EVIL).status_code == 403
    assert stored(house) == before
    answer = ask(house)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1/predict")
    part = house.client.get("/studies/s1/predict", headers={"HX-Request": "true"}).text
    assert "data-live" in part
    assert "<html" not in part
    worker.drain()
    page = house.client.get("/studies/s1/predict").text
    (url,) = re.findall(r'href="([^"]+/file)"', page)
    assert house.client.get(url).text == "id,text,prediction\n7,hello,0\n8,good bye,1\n"
    (delete,) = re.findall(r'action="([^"]+/delete)"', page)
    assert house.client.post(delete).headers["location"] == "/studies/s1/predict"
    assert house.get("/v1/studies/s1/predictions")["items"] == []
    assert house.client.post(delete).status_code == 404


@pytest.mark.full
def test_a_table_beyond_the_limit_leaves_nothing(tmp_path: Any) -> None:
    with running(tmp_path / "home", None, predict_bytes=1000) as house:
        house.finished(budget={"trials": 1})
        before = stored(house)
        refused(ask(house, b"text\n" + b"x" * 2_000), 413, "tables of at most 1,000 bytes (LUTHIER_PREDICT_BYTES)")
        assert stored(house) == before
        assert ask(house, b"text\n" + b"x" * 900).status_code == 303


def test_the_winners_tables_are_shown_and_escaped(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 1})
    assert "no results yet" in house.client.get("/studies/s1/results").text
    residuals = {"quantiles": {"0.5": 0.25}, "points": [[1.0, 1.5], [2.0, 1.75]]}
    bins = [{"low": 0.9, "high": 1.0, "count": 4, "confidence": 0.95, "accuracy": 0.5}]
    calibration = {"expected_error": 0.45, "bins": bins}
    worker.evaluation = {"results": {"test": TABLES, "validation": TABLES | {"residuals": residuals}}}
    worker.evaluation["results"]["test"] = TABLES | {"calibration": calibration}
    worker.drain()
    page = house.client.get("/studies/s1/results").text
    assert LABEL not in page
    assert html.escape(LABEL) in page
    cells = re.findall(r'<td class="number (shade\d)">(\d+)</td>', page)
    assert cells[:4] == [("shade8", "9"), ("shade1", "1"), ("shade4", "2"), ("shade5", "3")]
    assert 'd="M95.0,50.0h0"' in page
    assert 'd="M0.0,50.0h0M100.0,25.0h0"' in page
    assert "45.0 percentage points" in page
    assert house.client.get("/studies/none/results").status_code == 404


@pytest.mark.full
def test_a_reader_sees_results_and_pushes_nothing(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    house.finished(budget={"trials": 1})
    ask(house)
    before = everything(house)
    monkeypatch.setattr("luthier.service.api.site.page.may_write", lambda _: False)
    for path in ("", "/results", "/predict", "/trials/0"):
        page = house.client.get(f"/studies/s1{path}").text
        assert 'method="post"' not in page, path
        for verb in ("extend", "successor", "enqueue", "again"):
            assert f'/{verb}"' not in page
    for path in ("extend", "enqueue"):
        assert house.client.get(f"/studies/s1/{path}").status_code == 403
        assert post(house, f"/studies/s1/{path}", {"trials": "9"}).status_code == 403
    assert ask(house).status_code == 403
    assert house.client.post("/studies/s1/predict/3/delete").status_code == 403
    assert house.client.post("/new/trials", data={"spec": "a"}, files={"trials": ("a.csv", b"a")}).status_code == 403
    assert everything(house) == before
