"""A message of a worker writes the row of its trial once: on Postgres each UPDATE copies the whole row."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from tests.support.external_trainer import Trainer
from tests.support.harness import Running, ScriptedWorker

pytestmark = pytest.mark.both_databases


@contextmanager
def one_update(house: Running) -> Iterator[None]:
    """Check that just one statement within the block changes a row of an assignment."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE luthier_assignment"):
            sent.append(statement)

    event.listen(house.core.database.engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(house.core.database.engine, "before_cursor_execute", note)
    assert len(sent) == 1, sent


def test_a_report_and_an_end_write_the_trial_once(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    unheard = worker.claim()
    assert unheard is not None
    with one_update(house):
        worker.report(unheard, 1, 0.5)
    with one_update(house):
        worker.report(unheard, 2, 0.6, peak_memory_bytes=1000, examples_per_second=9.0, micro_batch=4)
    with one_update(house):
        worker.report(unheard, 2, 0.6)
    with one_update(house):
        worker.renew(unheard)
    (trial,) = house.trials()
    assert (trial["value"], len(trial["values"]), trial["peak_memory_bytes"]) == (0.6, 2, 1000)
    assert trial["seconds"] == 2.0
    with one_update(house):
        worker.finish(unheard)
    other = worker.claim()
    assert other is not None
    with one_update(house):
        worker.finish(other, status="released")


def test_an_external_trial_is_written_once_too(house: Running) -> None:
    trainer = Trainer(house)
    trial = trainer.ask()
    with one_update(house):
        trainer.report(trial, 1, 0.5, checkpoint="s3://there/1")
    with one_update(house):
        trainer.tell(trial)
    assert house.trials("tuning")[0]["value"] == 0.5
