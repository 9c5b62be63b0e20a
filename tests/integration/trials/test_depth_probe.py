"""An inspection measures what a linear model makes of the features at each freeze depth, where that is cheap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.semantics import DEPTHS_PROBED
from luthier.trials.jobs import depth_probe
from luthier.trials.jobs.inspect import inspect
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiny import tiny_csv
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def many(tmp_path: Path) -> dict[str, Any]:
    data = tiny_csv(tmp_path / "many.csv", rows=320)
    return {"dataset": {"source": str(data), "validation": 0.2, "test": 0}, "semantics": DEPTHS_PROBED}


def inspected(assign: Assign, session: Memory, spec: dict[str, Any]) -> Any:
    return inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache()).probe


def test_each_depth_has_a_score(assign: Assign, session: Memory, many: dict[str, Any]) -> None:
    probe = inspected(assign, session, many)
    assert [one.freeze_depth for one in probe.scores] == [0, 1, 2]
    assert (probe.rows, probe.validation_rows) == (256, 64)
    assert max(one.score for one in probe.scores) > 0.9, "the labels of the tiny data are told by words"
    assert any("by freeze depth, accuracy on validation: 0: " in line for line in session.lines)
    again = inspected(assign, Memory(session.folder / "again"), many)
    assert [one.score for one in again.scores] == [one.score for one in probe.scores]


def test_nothing_is_measured_where_it_would_take_long(
    assign: Assign, session: Memory, many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_probe, "OPERATIONS", {"cpu": 1.0})
    assert inspected(assign, session, many) is None
    assert any("64 more rows would take" in line for line in session.lines)


def test_older_studies_and_small_ones_are_inspected_as_before(
    assign: Assign, session: Memory, many: dict[str, Any]
) -> None:
    assert inspected(assign, session, many | {"semantics": DEPTHS_PROBED - 1}) is None
    assert inspected(assign, session, many | {"dataset": many["dataset"] | {"validation": 0.5}}) is None
