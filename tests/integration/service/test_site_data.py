"""The pages of uploaded data without a browser: upload, preview, a study begun with it, deletion."""

import re

import pytest
import yaml

from tests.support.harness import Running
from tests.support.uploads import CSV, stored, upload

HOSTILE = "<b>bold</b>"
TABLE = f"{HOSTILE},stars\n".encode() + b"".join(b"a review of some words %d,%d\n" % (n, n % 5) for n in range(60))


def chosen(page: str, field: str) -> str:
    """The choice of a select on a page."""
    select = re.search(rf'<select id="{re.escape(field)}".*?</select>', page, re.DOTALL)
    assert select is not None, field
    picked = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)<', select[0])
    return "" if picked is None else picked[2]


def spec_on(page: str) -> str:
    """The text of the editor on a page."""
    area = re.search(r'<textarea id="spec"[^>]*>\n?(.*?)</textarea>', page, re.DOTALL)
    assert area is not None
    return area[1].replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&#39;", "'")


@pytest.mark.full
def test_an_upload_is_looked_at_begun_with_and_deleted(house: Running) -> None:
    answer = house.client.post("/data", files={"file": ("<b>bold.csv", TABLE)})
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    id = path.removeprefix("/data/")
    for page in ("/data", path, f"{path}/preview"):
        text = house.client.get(page).text
        assert "&lt;b&gt;bold" in text, page
        assert "<b>" not in text, page
    begun = house.client.get(f"/new?data={id}").text
    spec = yaml.safe_load(spec_on(begun))
    assert spec["dataset"]["source"] == f"dataset:{id}"
    assert (spec["task"], chosen(begun, "task")) == ("text-classification", "text-classification")
    assert spec["dataset"]["columns"] == {"text": HOSTILE, "label": "stars"}
    assert chosen(begun, "role-label") == "stars"
    assert str(house.core.store.root) not in begun
    query = {"data": id, "task": "text-regression", "role.text": HOSTILE, "role.label": "stars", "preset": "best"}
    other = yaml.safe_load(spec_on(house.client.get("/new", params=query).text))
    assert (other["task"], other["preset"]) == ("text-regression", "best")
    assert other["dataset"]["columns"] == spec["dataset"]["columns"]
    started = house.client.post("/new", data={"spec": spec_on(begun)})
    assert started.status_code == 303, started.text
    name = started.headers["location"].removeprefix("/studies/")
    assert f'href="/studies/{name}"' in house.client.get(path).text
    assert house.client.post(f"{path}/delete").status_code == 409
    house.client.post(f"/v1/studies/{name}/cancel")
    assert house.client.post(f"{path}/delete").headers["location"] == "/data"
    assert house.client.get(path).status_code == 404
    assert f"dataset-{id}" not in stored(house)


@pytest.mark.parametrize(
    ("file", "content", "status", "words"),
    [("a.exe", b"MZ", 422, "is of no kind that is read"), ("a.csv", b"", 422, "the file is empty")],
)
def test_what_cannot_be_uploaded_is_a_page_with_a_sentence(
    house: Running, file: str, content: bytes, status: int, words: str
) -> None:
    before = stored(house)
    answer = house.client.post("/data", files={"file": (file, content)})
    assert answer.status_code == status
    assert words in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert stored(house) == before


def test_pages_of_other_sites_and_readers_upload_nothing(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    id = upload(house)["id"]
    evil = {"Origin": "https://evil.example"}
    assert house.client.post("/data", files={"file": ("b.csv", CSV)}, headers=evil).status_code == 403
    assert house.client.post(f"/data/{id}/delete", headers=evil).status_code == 403
    monkeypatch.setattr("luthier.service.api.site.page.may_write", lambda _: False)
    assert house.client.post("/data", files={"file": ("b.csv", CSV)}).status_code == 403
    assert house.client.post(f"/data/{id}/delete").status_code == 403
    for page in ("/data", f"/data/{id}"):
        assert 'method="post"' not in house.client.get(page).text
    assert [item["id"] for item in house.get("/v1/datasets")["items"]] == [id]


def test_data_that_tells_no_task_is_begun_by_hand(house: Running) -> None:
    id = upload(house, b"n,m\n1,x1\n2,x2\n")["id"]
    page = house.client.get(f"/new?data={id}")
    assert page.status_code in (200, 422)
    assert 'role="alert"' in page.text
    assert f"dataset:{id}" in spec_on(page.text)
    assert chosen(page.text, "task") in ("", "choose one")
    assert house.client.get("/new?data=0000000000000000").status_code == 404


def test_a_preset_stands_for_space_and_budget(house: Running) -> None:
    for preset in ("quick", "good", "best"):
        spec = yaml.safe_load(spec_on(house.client.get(f"/new?preset={preset}").text))
        assert spec["preset"] == preset
        assert not {"space", "budget"} & set(spec)
    assert "space" in yaml.safe_load(spec_on(house.client.get("/new?preset=").text))
    assert house.client.get("/new?preset=huge").status_code == 422
