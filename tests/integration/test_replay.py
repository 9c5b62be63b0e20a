"""Searches over recorded curves (benchmarks/replay.py): what workers pay, and what the service's own code decides."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TrialState

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import curve_files
from curve_files import Curve
from curve_tasks import CURVE_TASKS
from replay import VARIANTS, known_variants
from replay_clock import drive
from replay_luthier import House, LuthierSide
from replay_optuna import METHODS, OptunaSide
from replay_table import Case, Table

pytestmark = pytest.mark.full
BASELINE = {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0}
FRAGMENT = {"pruner": {"name": "none"}, "sampler": {"name": "random"}}


def curve(number: int, best: float, seconds: float, **params: float) -> Curve:
    """Return a curve that rises to its best score, with so many seconds an evaluation."""
    own = BASELINE | params
    steps = range(1, int(own["epochs"]) + 1)
    scores = [best - 0.1 * (own["epochs"] - step) for step in steps]
    spent = [seconds * step for step in steps]
    return Curve(
        number, own, [100 * s for s in steps], spent, [s / 2 for s in spent], scores, [0.5] * len(scores), scores
    )


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(curve_files, "FOLDER", tmp_path)
    rates = [10 ** (-4.9 + 0.1 * i) for i in range(24)]
    curves = [curve(0, 0.5, 2.0)]
    curves += [curve(i, 0.5 + 0.01 * i, 1.0, learning_rate=r, epochs=1 + i % 6) for i, r in enumerate(rates, 1)]
    curve_files.write("trec", curves, {"depth": 6})
    assert json.loads((tmp_path / "trec.json").read_text()) == {"depth": 6, "configurations": 25}
    return Table.of("trec")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def test_a_drawn_configuration_is_the_nearest_of_its_epochs_that_was_not_had(table: Table) -> None:
    used: set[int] = set()
    asked = BASELINE | {"learning_rate": table.curves[7].params["learning_rate"] * 1.01, "epochs": 2}
    had = [table.nearest(asked, used) for _ in range(25)]
    assert [one.number for one in had[:2]] == [7, 13]
    assert [one.params["epochs"] for one in had[:5]] == [2, 2, 2, 2, 3]  # the nearest of those one epoch away
    assert {one.number for one in had} == set(range(25))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_pay_recorded_seconds_to_the_services_own_search(table: Table, house: House, workers: int) -> None:
    case = Case(table, seed=3, workers=workers, gpu_seconds=40.0 * workers)
    side = LuthierSide(house, case, CURVE_TASKS["trec"], FRAGMENT)
    trace = drive(side, case)
    with house.core.database.transaction() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == side.name)).one()
        trials = session.scalars(select(AssignmentRow).where(AssignmentRow.study_id == study.id)).all()
    trials = sorted((one for one in trials if one.kind == "train"), key=lambda one: one.number or 0)
    ended = [one for one in trials if one.state == TrialState.COMPLETE]
    house.end(side.name)

    assert {name: trials[0].params[name] for name in BASELINE} == BASELINE
    assert len(trials) == trace.trials
    assert len(trials) - len(ended) == workers  # the clock stopped while they trained
    assert sum(one.seconds for one in ended) == pytest.approx(sum(c.seconds[-1] for c in side.curves(ended)))
    assert [one.value for one in ended] == pytest.approx([c.best for c in side.curves(ended)])
    assert sum(one.seconds for one in ended) <= case.gpu_seconds
    assert all(0 < at <= case.gpu_seconds for at, _, _ in trace.points)


def test_half_of_the_seconds_are_paid_with_the_cache(table: Table, house: House) -> None:
    reached = []
    for paid in (table, replace(table, cached=True)):
        case = Case(paid, seed=1, workers=1, gpu_seconds=12.0)
        side = LuthierSide(house, case, CURVE_TASKS["trec"], FRAGMENT)
        trace = drive(side, case)
        house.end(side.name)
        reached.append({value: at for at, value, _ in trace.points})
    cold, cached = reached
    assert len(cold) > 2
    assert {value: at / 2 for value, at in cold.items()} == pytest.approx({value: cached[value] for value in cold})


@pytest.mark.parametrize("method", METHODS)
def test_optuna_alone_finds_the_best_of_a_table(table: Table, method: str) -> None:
    case = Case(table, seed=0, workers=2, gpu_seconds=10 * table.total_seconds)
    trace = drive(OptunaSide(case, method), case)
    assert trace.value == table.best
    assert trace.reached(table.target, -1.0) == trace.points[-1][0] <= case.gpu_seconds


def test_a_variant_that_this_version_refuses_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    VARIANTS["later"] = {"sampler": {"name": "tpe", "crystal_ball": True}}
    try:
        assert known_variants(["default", "later"]) == ["default"]
    finally:
        del VARIANTS["later"]
    assert "sampler.crystal_ball" in capsys.readouterr().out
