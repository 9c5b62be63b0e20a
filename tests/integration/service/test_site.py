"""The pages at `/` without a browser: what they find, in which order, by how many queries, and who may push buttons."""

import re
from typing import Any

import pytest
from sqlalchemy import insert, select

from luthier.service.api.site import curves
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import AssignmentKind
from tests.integration.service.test_external import Trainer
from tests.integration.service.test_list_queries import statements
from tests.support.harness import Running
from tests.support.many_rows import add_study, add_worker

pytestmark = pytest.mark.both_databases
PARTS = {"HX-Request": "true"}


def names(house: Running, path: str) -> list[str]:
    """The studies that a page of the list shows, in its order."""
    page = house.client.get(path)
    assert page.status_code == 200, page.text
    return re.findall(r'id="to-([^"]+)"', page.text)


def numbers(house: Running, path: str) -> list[int]:
    """The trials that a page of a study's table shows, in its order."""
    return [int(number) for number in names(house, path)]


@pytest.fixture
def full_house(house: Running) -> Running:
    """Forty studies, one of them with a thousand evaluations a trial."""
    for number in range(40):
        add_study(house, f"s{number:02}-{'odd' if number % 2 else 'even'}", 2 + number % 3)
        add_worker(house, f"w{number}")
    return house


def test_studies_are_found_sorted_and_paged(full_house: Running) -> None:
    house = full_house
    assert names(house, "/") == [f"s{n:02}-{'odd' if n % 2 else 'even'}" for n in range(39, 9, -1)]
    assert len(names(house, "/?page=2")) == 10
    assert names(house, "/?page=3") == []
    assert names(house, "/?q=ODD+s0&sort=name") == ["s01-odd", "s03-odd", "s05-odd", "s07-odd", "s09-odd"]
    assert names(house, "/?q=%25") == names(house, "/?q=_") == []
    assert names(house, "/?q=s0&sort=-name&state=completed")[0] == "s09-odd"
    assert names(house, "/?state=running") == []
    assert "Page 1 of 2" in house.client.get("/").text
    assert "<html" not in house.client.get("/", headers=PARTS).text
    for wrong in ("/?sort=size", "/?page=0", "/?state=lost", "/?page=x", "/studies/s00-even?sort=luck"):
        answer = house.client.get(wrong)
        assert answer.status_code == 422
        assert answer.headers["content-type"].startswith("text/html")
        assert 'role="alert"' in answer.text


def test_pages_take_as_many_queries_for_many_as_for_few(full_house: Running) -> None:
    house = full_house
    add_study(house, "large", 200)
    counts = {}
    for path in (
        "/?q=s00",
        "/",
        "/studies/s00-even",
        "/studies/large",
        "/studies/s00-even/table",
        "/studies/large/table",
    ):
        house.client.get(path)
        with statements(house) as sent:
            assert house.client.get(path).status_code == 200
        counts[path] = len(sent)
    assert counts["/"] == counts["/?q=s00"]
    assert counts["/studies/large"] == counts["/studies/s00-even"]
    assert counts["/studies/large/table"] == counts["/studies/s00-even/table"]


def test_trials_are_sorted_by_scores_facts_and_parameters(full_house: Running) -> None:
    house = full_house
    path = "/studies/s38-even/table"  # four trials: later is better, freeze depths 0, 1, 2, 0
    assert numbers(house, path) == [0, 1, 2, 3]
    assert numbers(house, f"{path}?sort=-value") == [3, 2, 1, 0]
    assert numbers(house, f"{path}?sort=-freeze_depth") == [2, 1, 0, 3]
    assert numbers(house, f"{path}?sort=optimizer") == [0, 1, 2, 3]  # none of them has it
    assert numbers(house, f"{path}?sort=worker&state=complete") == [0, 1, 2, 3]
    assert numbers(house, f"{path}?state=failed") == []
    shown = house.client.get(f"{path}?column=seed&column=batch_size&column=nothing").text
    assert re.findall(r'id="sort-([a-z_]+)"', shown) == ["number", "state", "value", "seed", "batch_size"]


def test_a_long_curve_is_thinned_where_it_is_read(house: Running) -> None:
    add_study(house, "long", 1)
    with house.core.database.transaction() as session:
        row = session.scalars(select(AssignmentRow)).one()
        row.step = 1_000
        more = [
            {"assignment_id": row.id, "step": n, "metrics": {"accuracy": n / 1e3}, "at": 0.0} for n in range(3, 1001)
        ]
        session.execute(insert(ReportRow), more)
    with house.core.database.reading() as session:
        row = session.scalars(select(AssignmentRow)).one()
        read = curves.read(session, [row], curves.POINTS)[row.id]
    steps = [step for step, _ in read]
    assert len(steps) <= curves.POINTS + 2
    assert (steps[0], steps[-1]) == (1, 1_000)
    assert "M0.0," in house.client.get("/studies/long").text


def buttons(house: Running, path: str) -> list[str]:
    """The addresses that a page's forms post to."""
    posted = re.findall(r'method="post" action="([^"]+)"', house.client.get(path).text)
    return [address for address in posted if not address.endswith("/change")]


def push(house: Running, path: str, **headers: str) -> Any:
    return house.client.post(path, headers=headers)


def test_buttons_are_those_that_make_sense(house: Running) -> None:
    worker = house.worker()
    house.create()
    assert buttons(house, "/studies/s1") == ["/studies/s1/stop", "/studies/s1/cancel"]
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    assert buttons(house, "/studies/s1") == ["/studies/s1/pause", "/studies/s1/stop", "/studies/s1/cancel"]
    assert push(house, "/studies/s1/pause", Origin="https://evil.example").status_code == 403
    answer = push(house, "/studies/s1/pause", Origin=house.url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1")
    assert house.study()["state"] == "paused"
    refused = push(house, "/studies/s1/pause")
    assert refused.status_code == 409
    assert "s1 is paused" in refused.text
    live = house.client.get("/studies/s1/live?seen=running", headers=PARTS).text
    assert 'action="/studies/s1/resume"' in live
    assert "<form" not in house.client.get("/studies/s1/live?seen=paused", headers=PARTS).text
    assert push(house, "/studies/s1/grow").status_code == 404
    assert push(house, "/studies/none/pause").status_code == 404
    push(house, "/studies/s1/cancel")
    assert buttons(house, "/studies/s1") == ["/studies/s1/delete"]
    assert push(house, "/studies/s1/delete").headers["location"] == "/"
    assert house.client.get("/studies/s1").status_code == 404


def test_a_reader_sees_no_button_and_may_push_none(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    house.started(house.worker())
    monkeypatch.setattr("luthier.service.api.site.page.may_write", lambda _: False)
    for path in ("/", "/studies/s1"):
        page = house.client.get(path).text
        assert 'method="post"' not in page
        assert "/new" not in page
    for path in ("/studies/s1/cancel", "/schedules/nightly/trigger"):
        assert push(house, path).status_code == 403
    for path in ("/new", "/new/plan"):
        assert house.client.post(path, data={"spec": "name: x"}).status_code == 403
    assert house.client.get("/new").status_code == 403
    assert house.study()["state"] == "running"


def test_a_damaged_study_has_a_page(house: Running) -> None:
    add_study(house, "hurt", 2)
    with house.core.database.transaction() as session:
        session.connection().exec_driver_sql("""UPDATE luthier_study SET spec = '{"name": 7}'""")
    with house.core.database.reading() as session:
        assert session.scalar(select(StudyRow.name)) == "hurt"
    for path in ("/", "/studies/hurt", "/studies/hurt/trials/1", "/compare?study=hurt&trial=hurt/1"):
        assert house.client.get(path).status_code == 200, path


@pytest.mark.full
def test_a_trial_is_stopped_run_again_and_deleted(house: Running) -> None:
    worker = house.worker()
    house.started(worker)
    running = worker.take()
    path = "/studies/s1/trials/0"
    assert buttons(house, path) == [f"{path}/stop"]
    assert push(house, f"{path}/stop", Origin="https://evil.example").status_code == 403
    assert push(house, f"{path}/stop").headers["location"] == path
    assert "it ends at its next evaluation" in house.client.get(path).text
    assert buttons(house, path) == []
    worker.finish(running, "failed", reason="error", problem={"message": "It fell over."})
    assert buttons(house, path) == [f"{path}/retry", f"{path}/delete"]
    live = house.client.get(f"{path}/live?seen=running", headers=PARTS).text
    assert f'action="{path}/retry"' in live
    answer = push(house, f"{path}/retry")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1/trials/1")
    assert 'href="/studies/s1/trials/0">trial 0</a>' in house.client.get("/studies/s1/trials/1").text
    assert push(house, f"{path}/delete").headers["location"] == "/studies/s1"
    assert house.client.get(path).status_code == 404
    assert push(house, f"{path}/melt").status_code == 404
    house.client.post("/v1/studies/s1/cancel")
    assert buttons(house, "/studies/s1/trials/1") == ["/studies/s1/trials/1/delete"]


def test_tags_and_notes_are_changed_and_found_and_nothing_typed_is_lost(house: Running) -> None:
    house.create()
    house.create("s2")
    etag = house.study()["etag"]
    typed = {"etag": etag, "tags": "german\r\n<b>\r\n", "notes": "ask Ana\r\n<i>soon</i>", "parallel": "3"}
    assert house.client.post("/studies/s1/change", data=typed).headers["location"] == "/studies/s1"
    study = house.study()
    assert (study["tags"], study["notes"], study["parallel"]) == (["german", "<b>"], "ask Ana\n<i>soon</i>", 3)
    page = house.client.get("/studies/s1").text
    assert "&lt;i&gt;soon" in page
    assert "<i>" not in page
    assert names(house, "/?tag=German") == names(house, "/?q=GERM") == names(house, "/?tag=%3Cb%3E") == ["s1"]
    assert names(house, "/?tag=ger") == []
    refused = house.client.post("/studies/s1/change", data=typed | {"notes": "mine"})
    assert refused.status_code == 412
    assert "changed by another request" in refused.text
    assert re.search(r'<textarea id="notes"[^>]*>\s*mine</textarea>', refused.text)
    assert house.study()["notes"] == "ask Ana\n<i>soon</i>"
    assert house.study()["etag"].strip('"') in refused.text
    fresh = typed | {"etag": house.study()["etag"]}
    for wrong, words in (
        ({"parallel": "many"}, "whole number"),
        ({"tags": "t" * 51}, "is no tag"),
        ({"etag": "x"}, "ETag"),
    ):
        answer = house.client.post("/studies/s1/change", data=fresh | wrong)
        assert answer.status_code == 422, wrong
        assert words in answer.text
    other_site = house.client.post("/studies/s1/change", data=fresh, headers={"Origin": "https://evil.example"})
    assert other_site.status_code == 403


def test_every_page_of_an_external_study_opens(house: Running) -> None:
    Trainer(house, steps=3).run()
    pages = ("", "/table?sort=-lr", "/table?sort=activation", "/trials/1", "/timeline", "/live")
    for path in ("/", "/compare?study=tuning&trial=tuning/1", *(f"/studies/tuning{page}" for page in pages)):
        answer = house.client.get(path)
        assert answer.status_code == 200, (path, answer.text)
    rates = {trial["number"]: trial["params"]["lr"] for trial in house.trials("tuning")}
    assert numbers(house, "/studies/tuning/table?sort=-lr") == sorted(rates, key=lambda n: -rates[n])
    assert house.client.get("/studies/tuning/table?sort=weight").status_code == 422


def test_a_deleted_trial_is_nowhere(house: Running) -> None:
    add_study(house, "small", 4)
    assert house.client.delete("/v1/studies/small/trials/1").status_code == 204
    assert numbers(house, "/studies/small/table") == [0, 2, 3]
    page = house.client.get("/studies/small").text
    assert "all 3</a>" in page
    assert "of 3 trials" in page
    assert 'href="/studies/small/trials/2">Trial 2</a>' in house.client.get("/studies/small/trials/0").text
    assert "trial 1" not in house.client.get("/studies/small/timeline").text
    for path in ("/studies/small/trials/1", "/compare?trial=small/1"):
        answer = house.client.get(path)
        assert answer.status_code == 404
        assert "it was deleted" in answer.text


def test_what_cannot_be_compared_says_so(house: Running) -> None:
    house.create()
    assert "Tick two or more" in house.client.get("/compare").text
    assert "Tick two or more" in house.client.get("/compare?study=s1").text
    for query, words in {"trial=s1": "", "trial=s1/x": "a slash and a number", "study=none": "no study named"}.items():
        answer = house.client.get(f"/compare?{query}")
        assert words in answer.text
        assert answer.status_code == (200 if not words else 422 if "slash" in words else 404)
    many = "&".join(f"study=s{n}" for n in range(9))
    assert "tick 8 at most" in house.client.get(f"/compare?{many}").text
