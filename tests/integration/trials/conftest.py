"""Assignments over a tiny model and data set."""

from pathlib import Path

import pytest

from luthier.trials.jobs import fresh, reload
from tests.support.trials import assign, data, model, one_thread, session

pytest.register_assert_rewrite("tests.support.task_contract", "tests.support.task_study")

__all__ = ["assign", "data", "model", "one_thread", "session"]


@pytest.fixture(autouse=True)
def _packed_models_are_tried_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own costs seconds; tests that are about it are marked `fresh_process`."""

    def run(work: Path, session: object) -> None:
        (work / reload.LOG).touch()
        fresh.answer(work)

    if request.node.get_closest_marker("fresh_process") is None:
        monkeypatch.setattr(reload, "_run", run)
