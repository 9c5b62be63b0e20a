"""PATCH of studies and schedules: tags, notes, `parallel`; an ETag that tells of changes; lists by tag and name."""

from typing import Any

import pytest

from tests.support.harness import Running, ScriptedWorker, paths, problem

pytestmark = pytest.mark.both_databases
STUDY = "/v1/studies/s1"


def patch(house: Running, etag: str | None = None, path: str = STUDY, **changes: Any) -> Any:
    return house.client.patch(path, json=changes, headers={} if etag is None else {"If-Match": etag})


def test_tags_and_notes_are_kept_as_they_were_written(house: Running) -> None:
    house.create()
    notes = "<script>alert(1)</script>\n[bold]100 %[/bold]\t\u202e {{ 7 * 7 }}\r\nline"
    answer = patch(house, tags=[" german ", "Baseline", "baseline", "<b>"], notes=notes)
    assert answer.status_code == 200
    study = house.study()
    assert study["tags"] == ["german", "Baseline", "<b>"]
    assert study["notes"] == notes.replace("\r\n", "\n")
    assert patch(house, notes=None).json()["notes"] == ""
    assert house.study()["tags"] == study["tags"], "what is left out stays"
    assert patch(house, tags=None).json()["tags"] == []
    assert house.client.post("/v1/studies", json=house.study()["spec"]).status_code == 200, "its spec is what it was"


def test_studies_are_listed_by_tag_and_name(house: Running) -> None:
    for name, tags in (("sms-a", ["nlp", "100%"]), ("sms-b", ["nlp_2"]), ("film", ["NLP", "old"])):
        house.create(name)
        assert patch(house, path=f"/v1/studies/{name}", tags=tags).status_code == 200

    def names(query: str) -> list[str]:
        return [study["name"] for study in house.get(f"/v1/studies?{query}")["items"]]

    assert names("tag=nlp") == ["film", "sms-a"]
    assert names("tag=nlp&tag=old") == ["film"]
    assert names("tag=100%25") == ["sms-a"]
    assert names("tag=%25") == names("tag=l_") == names("search=_") == []
    assert names("search=SMS") == ["sms-b", "sms-a"]
    assert names("search=sms&tag=nlp_2&state=queued") == ["sms-b"]


def test_a_change_of_what_was_changed_meanwhile_is_refused(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    etag = house.client.get(STUDY).headers["etag"]
    assert house.study()["etag"] == etag
    worker.train(worker.take())
    assert house.client.get(STUDY).headers["etag"] == etag, "progress is no change of what a PATCH changes"
    first = patch(house, etag, notes="mine")
    assert first.headers["etag"] == first.json()["etag"] != etag
    assert "repeat" in problem(patch(house, etag, notes="theirs"), 412)["detail"]
    assert house.study()["notes"] == "mine"
    assert patch(house, etag, notes="mine").status_code == 200, "the answer may have been lost"
    assert patch(house, f'"0", {first.headers["etag"]}', notes="again").status_code == 200
    assert patch(house, "*", notes="any").status_code == 200
    problem(patch(house, f"W/{house.study()['etag']}", notes="weak"), 412)
    for header in ("", "abc", '"a', "W/*"):
        assert paths(patch(house, header, notes="no")) == {"If-Match"}
    assert house.study()["notes"] == "any"


def test_parallel_is_changed_while_trials_run(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    worker.take()
    assert worker.claim() is None
    assert patch(house, parallel=2).json()["parallel"] == 2
    assert worker.take().number == 1
    assert patch(house, parallel=1).status_code == 200, "running ones go on"
    assert house.study()["counts"]["running"] == 2
    assert house.study()["spec"]["parallel"] == 1
    patch(house, parallel=7)
    assert patch(house, parallel=None).json()["parallel"] == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tags": "german"}, "tags"),
    ({"tags": [""]}, "tags"),
    ({"tags": ["a\nb"]}, "tags"),
    ({"tags": ["x" * 51]}, "tags"),
    ({"tags": ["\x1b[31m"]}, "tags"),
    ({"tags": [f"t{i}" for i in range(21)]}, "tags"),
    ({"tags": [7]}, "tags.0"),
    ({"notes": "x" * 10_001}, "notes"),
    ({"notes": "a\x00b"}, "notes"),
    ({"notes": "\x1b]0;title\x07"}, "notes"),
    ({"notes": 3}, "notes"),
    ({"parallel": 0}, "parallel"),
    ({"parallel": 1.5}, "parallel"),
    ({"parallel": True}, "parallel"),
    ({"parallel": 10**30}, "parallel"),
    ({"name": "s2"}, "name"),
    ({"state": "completed"}, "state"),
]


@pytest.mark.full
@pytest.mark.parametrize(("changes", "path"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_change_gets_a_sentence(inspected: Running, changes: dict[str, Any], path: str) -> None:
    assert paths(patch(inspected, **changes)) == {path}
    study = inspected.study()
    assert (study["tags"], study["notes"], study["parallel"]) == ([], "", 2)
    problem(patch(inspected, path="/v1/studies/nobody", notes="x"), 404)


def test_a_schedule_is_changed_under_its_etag(nightly: Any, house: Running) -> None:
    nightly()
    path = "/v1/schedules/nightly"
    etag = house.client.get(path).headers["etag"]
    changed = patch(house, etag, path, paused=True)
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] == house.get(path)["etag"] != etag
    problem(patch(house, etag, path, cron="0 3 * * *"), 412)
    assert house.get(path)["spec"]["cron"] != "0 3 * * *"
    assert patch(house, etag, path, paused=True).status_code == 200
    assert patch(house, changed.headers["etag"], path, cron="0 3 * * *").json()["spec"]["cron"] == "0 3 * * *"
