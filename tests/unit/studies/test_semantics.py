"""The semantics of specs: new ones have the newest, stored ones keep those that they began with."""

import json
from typing import Any

import pytest

from luthier.studies.schedule import ScheduleSpec, changed, parse_schedule
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.specs import document


def template() -> dict[str, Any]:
    return {key: value for key, value in document().items() if key != "name"}


def schedule(**study: object) -> dict[str, Any]:
    return {"name": "nightly", "cron": "0 3 * * *", "study": template() | study}


@pytest.mark.parametrize("said", [None, 1, 99])
def test_users_get_the_newest_whatever_they_write(said: int | None) -> None:
    written = document() | ({} if said is None else {"semantics": said})
    assert parse_spec(json.dumps(written)).semantics == NEWEST_SEMANTICS > 1
    assert parse_schedule(json.dumps(schedule(**written | {"name": "scheduled"}))).study.semantics == NEWEST_SEMANTICS


def test_a_stored_spec_without_them_is_the_oldest_and_is_written_as_it_was() -> None:
    stored = StudySpec.model_validate(document())
    assert stored.semantics == 1
    assert "semantics" not in stored.model_dump(mode="json")
    assert "semantics" not in json.loads(stored.model_dump_json())
    newest = parse_spec(json.dumps(document()))
    again = StudySpec.model_validate_json(newest.model_dump_json())
    assert (again, again.semantics) == (newest, NEWEST_SEMANTICS)
    assert newest != stored
    assert newest.says_the_same(stored)
    assert stored.says_the_same(newest)
    other = parse_spec(json.dumps(document() | {"seed": 5}))
    assert not other.says_the_same(stored)


def test_a_schedule_keeps_its_own_through_changes_and_in_its_runs() -> None:
    stored, new = ScheduleSpec.model_validate(schedule()), parse_schedule(json.dumps(schedule()))
    assert stored.says_the_same(new)
    assert new.says_the_same(stored)
    assert stored.template_digest != new.template_digest
    assert "semantics" not in new.shown()["study"]
    for before in (stored, new):
        after = changed(before, {"study": template() | {"seed": 9}})
        assert (after.study.seed, after.study.semantics) == (9, before.study.semantics)
        assert changed(before, {"paused": True}).run_spec(0.0).semantics == before.study.semantics


def test_their_schema_does_not_show_them() -> None:
    assert "semantics" not in StudySpec.model_json_schema()["properties"]


def test_the_digest_of_a_template_is_that_of_the_first_version() -> None:
    """Schedules compare it with that of their last run, to skip what has not changed."""
    text = (
        "name: nightly\ncron: '0 2 * * *'\nstudy:\n  task: text-classification\n  model: m\n"
        "  dataset: {source: d.csv}\n  space: {learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}}\n"
        "  budget: {trials: 3}\n"
    )
    stored = parse_schedule(text).with_semantics(1)
    assert stored.template_digest == "6ccc8cdb08cbe8385f347657c4c61a5afea31e3a4169868175416e1fab7af140"
    images = parse_schedule(text.replace("text", "image"))
    skipping = parse_schedule(text.replace("text", "image").replace("d.csv}", "d.csv, unreadable: skip}"))
    assert skipping.template_digest != images.template_digest
