"""The majority's score beside the winner's, over REST: shown, and a winner that is no better is called so."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy

from luthier.studies.protocol import AssignmentKind
from luthier.studies.results import Majority
from tests.support.harness import INSPECTION, Running, ScriptedWorker, spec
from tests.support.nightly import Nightly

SHOWN = {
    "label": "ham",
    "value": 0.6,
    "metrics": {"accuracy": 0.6, "loss": 0.67},
    "test": {"accuracy": 0.7, "loss": 0.61},
}
BEGINS = "The winner is no better than always answering 'ham': "


def majority(accuracy: float = 0.6, test: float | None = 0.7) -> Majority:
    scores = None if test is None else {"accuracy": test, "loss": 0.61}
    return Majority(label="ham", validation={"accuracy": accuracy, "loss": 0.67}, test=scores)


def ended(house: Running, worker: ScriptedWorker, found: Majority | None, value: float = 0.8) -> dict[str, Any]:
    """A study whose trials all reach `value`, and 0.75 on test."""
    worker.inspection = INSPECTION.model_copy(update={"majority": found})
    worker.score = lambda params, step: value
    assert house.client.post("/v1/studies", json=spec(budget={"trials": 2})).status_code == 201
    worker.drain()
    return dict(house.study())


def test_a_winner_that_is_better(house: Running, worker: ScriptedWorker) -> None:
    study = ended(house, worker, majority())
    assert (study["state"], study["majority"], study["warnings"]) == ("completed", SHOWN, [])
    assert house.get("/v1/studies")["items"][0]["majority"] == SHOWN, "also in listings"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (majority(0.8), "on validation its accuracy is 0.8000, and that alone has 0.8000"),
        (majority(0.9, None), "on validation its accuracy is 0.8000, and that alone has 0.9000"),
        (majority(test=0.75), "on test its accuracy is 0.7500, and that alone has 0.7500"),
    ],
)
def test_a_winner_that_is_no_better(found: Majority, told: str, house: Running, worker: ScriptedWorker) -> None:
    study = ended(house, worker, found)
    assert study["state"] == "completed"
    (warning,) = study["warnings"]
    assert warning.startswith(BEGINS + told)
    (listed,) = house.get("/v1/studies")["items"]
    assert listed["warnings"] == [warning]


def test_nothing_is_said_while_trials_run(house: Running, worker: ScriptedWorker) -> None:
    worker.inspection = INSPECTION.model_copy(update={"majority": majority(0.99)})
    house.client.post("/v1/studies", json=spec())
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.train(worker.take())
    study = house.study()
    assert study["best"] is not None
    assert (study["state"], study["majority"]["value"], study["warnings"]) == ("running", 0.99, [])


@pytest.mark.full
def test_inspections_of_before_have_none(house: Running, worker: ScriptedWorker) -> None:
    study = ended(house, worker, None)
    assert (study["majority"], study["warnings"]) == (None, [])
    with house.core.database.transaction() as session:  # as an older version stored it
        older = INSPECTION.model_dump_json(exclude={"majority"})
        session.execute(sqlalchemy.text("UPDATE luthier_study SET inspection = :older"), {"older": older})
    assert house.study()["majority"] is None


@pytest.mark.full
def test_a_run_of_a_schedule_says_so(nightly: Callable[..., Nightly], worker: ScriptedWorker) -> None:
    it = nightly()
    it.worker.inspection = INSPECTION.model_copy(update={"majority": majority(0.99)})
    it.due()
    it.settle()
    message = it.runs()[0]["message"]
    assert message.startswith(f"The first champion. {BEGINS}on validation its accuracy is ")
