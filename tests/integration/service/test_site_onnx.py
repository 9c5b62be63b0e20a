"""The ONNX file in the downloads of a study's page, and the page of a trial that waits, without a browser."""

import re

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.forms import refused
from tests.support.harness import Running, ScriptedWorker

PATH = "/studies/s1/onnx"
PART = {"HX-Request": "true"}
EVIL = {"Origin": "https://evil.example"}
REASON = "<b>SwinModel</b> cannot be written as an ONNX file."


def part(house: Running, method: str = "get") -> str:
    """The part that a study's page has of its ONNX file, as htmx gets it; as it lies in the page."""
    answer = house.client.request(method, PATH, headers=PART)
    assert answer.status_code == 200, answer.text
    assert "<html" not in answer.text
    page = house.client.get("/studies/s1").text
    assert " ".join(answer.text.split()) in " ".join(page.split())
    return answer.text


def posts(page: str) -> list[str]:
    """The addresses that the forms of an ONNX file post to."""
    return re.findall(r'method="post" action="(/studies/[^"/]+/onnx[^"]*)"', page)


def test_an_onnx_file_is_made_followed_downloaded_and_deleted(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 1})
    assert part(house).strip() == "", "it has no winner yet"
    refused(house.client.post(PATH), 409, "no winner to export")
    worker.drain()
    worker.drain()
    assert posts(part(house)) == [PATH]
    assert house.client.post(PATH, headers=EVIL).status_code == 403
    assert house.client.get("/v1/studies/s1/onnx").status_code == 404
    queued = part(house, "post")
    assert posts(queued) == [f"{PATH}/delete"]
    assert "It waits for a worker" in queued
    assert 'hx-trigger="every' in queued
    held = worker.take(AssignmentKind.ONNX)
    assert "w1 makes it" in part(house)
    worker.finish(held, "failed", reason="bad_data", problem={"message": REASON})
    failed = part(house)
    assert REASON.replace("<", "&lt;").replace(">", "&gt;") in failed
    assert "Make it anew" in failed
    assert "hx-trigger" not in failed
    answer = house.client.post(PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1"), "without htmx"
    worker.drain()
    complete = part(house)
    assert "on 15 rows of the data it differs from torch by 2e-07 at most" in complete
    assert "hx-trigger" not in complete
    (url,) = re.findall(r'href="([^"]+/file)" download', complete)
    assert house.client.get(url).status_code == 200
    assert posts(complete) == [f"{PATH}/delete"]
    assert "Delete the ONNX file of s1?" in complete, "it asks first"
    assert house.client.post(f"{PATH}/delete").headers["location"] == "/studies/s1"
    assert posts(part(house)) == [PATH]
    assert house.client.post(f"{PATH}/delete").status_code == 404
    assert house.client.get(PATH).headers["location"] == "/studies/s1"


@pytest.mark.full
def test_what_has_no_onnx_file_shows_no_button(house: Running) -> None:
    house.client.post("/v1/studies", json=external.document()).raise_for_status()
    house.finished(task="text-generation", objective={"metric": "loss", "direction": "minimize"}, budget={"trials": 1})
    for name in ("tuning", "s1"):
        assert "onnx" not in house.client.get(f"/studies/{name}").text.lower()
        refused(house.client.post(f"/studies/{name}/onnx"), 409)


@pytest.mark.full
def test_a_reader_sees_the_link_of_an_onnx_file_only(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.finished(budget={"trials": 1})
    monkeypatch.setattr("luthier.service.api.site.page.may_write", lambda _: False)
    assert part(house).strip() == ""
    house.client.post("/v1/studies/s1/onnx").raise_for_status()
    assert part(house).strip() == "", "it is in the making"
    worker.drain()
    assert 'href="/v1/studies/s1/onnx/file" download' in part(house)
    assert posts(part(house)) == []
    assert house.client.post(PATH).status_code == 403
    assert house.client.post(f"{PATH}/delete").status_code == 403
    assert house.get("/v1/studies/s1/onnx")["state"] == "complete"


def test_a_configuration_that_waits_has_a_page_with_its_buttons(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 4})
    for rate in (1e-4, 2e-4, 3e-4):
        body = {"params": {"learning_rate": rate}}
        house.client.post("/v1/studies/s1/trials", json=body).raise_for_status()
    path = "/studies/s1/trials"
    assert re.findall(r'id="waits-(\d)" href="([^"]+)"', house.client.get("/studies/s1").text) == [
        (number, f"{path}/{number}") for number in "123"
    ]
    page = house.client.get(f"{path}/2").text
    assert "It waits for the inspection" in page
    assert "<dt title" in page
    assert "0.0002" in page
    assert 'rel="prev" href="/studies/s1/trials/1"' in page
    assert 'rel="next" href="/studies/s1/trials/3"' in page
    assert re.findall(r'method="post" action="([^"]+)"', page) == [f"{path}/2/stop", f"{path}/2/delete"]
    live = house.client.get(f"{path}/2/live?seen=waiting", headers=PART)
    assert 'id="live"' in live.text
    assert "HX-Refresh" not in live.headers
    assert house.client.post(f"{path}/2/delete").headers["location"] == "/studies/s1"
    assert house.client.get(f"{path}/2").status_code == 404
    assert house.client.post(f"{path}/3/stop").headers["location"] == f"{path}/3"
    stopped = house.client.get(f"{path}/3").text
    assert "It was stopped while it waited" in stopped
    assert re.findall(r'method="post" action="([^"]+)"', stopped) == [f"{path}/3/delete"]
    shown = house.client.get("/studies/s1").text
    assert re.findall(r'id="waits-(\d)"', shown) == ["1", "3"]
    assert shown.count(", stopped</li>") == 1
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.take()  # with the baseline, all of them become trials
    live = house.client.get(f"{path}/1/live?seen=waiting", headers=PART)
    assert live.headers["HX-Refresh"] == "true"
    assert "It waits for the inspection" not in house.client.get(f"{path}/1").text
