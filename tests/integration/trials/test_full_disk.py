"""A disk that fills while a trial trains: the trial waits, and ends with the scores that it would have had."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.trials.child import __main__ as child
from luthier.trials.errors import Ended
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.small_disk import small_disk
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


def full() -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.full
def test_a_trial_waits_for_room_and_loses_nothing(assign: Assign, tmp_path: Path) -> None:
    plain = Memory(tmp_path / "plain")
    train(assign(), plain, ModelCache())
    with small_disk(tmp_path / "disk", 8) as disk:

        class Waiting(Memory):
            def hold(self, seconds: float) -> None:
                super().hold(seconds)
                if len(self.held) == 3:
                    disk.free()

        session = Waiting(disk.folder / "1-1")
        disk.fill()
        assert train(assign(), session, ModelCache()).status == "complete"
        assert session.held == [1.0, 2.0, 4.0]
        assert [path.name for path in session.folder.iterdir() if path.name.startswith(".")] == []
    assert session.metrics == plain.metrics
    (line,) = [line for line in session.lines if "waits for room" in line]
    assert str(session.folder) in line
    assert f"the disk of {disk.folder}, with " in line


def test_a_trial_that_waits_still_ends_when_it_is_told(assign: Assign, session: Memory) -> None:
    def told(seconds: float) -> None:
        raise Ended(Decision.STOP)

    session.hold = told  # type: ignore[method-assign]
    result, _ = child.perform(lambda *_: full(), assign(), session, ModelCache())
    assert result.status == "complete"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (AssignmentKind.TRAIN, "released"),
        (AssignmentKind.CONFIRM, "released"),
        (AssignmentKind.EVALUATE, "failed"),
        (AssignmentKind.INSPECT, "failed"),
    ],
)
def test_what_never_gets_room_is_given_back_or_says_so(
    assign: Assign, session: Memory, kind: AssignmentKind, status: str
) -> None:
    tries: list[int] = []
    result, replace = child.perform(lambda *_: tries.append(1) or full(), assign(kind), session, ModelCache())
    assert (result.status, replace) == (status, False)
    assert result.problem is not None
    assert str(session.folder) in result.problem.message
    assert sum(session.held) == pytest.approx(child.HOLD_SECONDS)
    assert len(tries) == len(session.held) + 1
