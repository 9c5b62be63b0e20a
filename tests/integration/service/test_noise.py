"""How exact a study's scores are, over REST: the baseline's weights reach the evaluation, and what it found is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from luthier.service.dispatch import orphans
from luthier.service.dispatch.baseline_files import NAME
from luthier.service.dispatch.orphans import Orphans
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.semantics import NOISE_MEASURED
from tests.support.harness import Running, ScriptedWorker
from tests.support.sampled import BASELINE, INTERVAL, sampling


def until_evaluated(house: Running, worker: ScriptedWorker, values: tuple[float, ...], **spec: Any) -> Assignment:
    """Train trials to these scores, and return the evaluation of the winner."""
    house.started(worker, parallel=1, budget={"trials": len(values)}, **spec)
    for value in values:
        worker.score = lambda params, step, value=value: value - 0.01 * step  # type: ignore[misc]
        worker.train(worker.take())
    return worker.take(AssignmentKind.EVALUATE)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"log.txt"}


@pytest.mark.full
@pytest.mark.both_databases
def test_the_baseline_is_scored_beside_the_winner_and_its_gain_is_called_noise(
    house: Running, worker: ScriptedWorker
) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8, 0.7))
    first = house.trials()[0]
    assert a.baseline is not None
    assert (a.number, a.baseline.seed) == (1, first["seed"])
    assert first["params"].items() <= a.baseline.params.items()
    link = Path(a.store) / a.baseline.weights.name
    assert link.read_bytes() == b"weights 0 1"
    worker.evaluation = {"sampling": sampling(gained=4, lost=2)}
    worker.evaluate(a)

    study = house.study()
    assert (study["state"], study["warnings"]) == ("completed", [])
    best = study["best"]
    assert (best["standard_error"], best["interval"]) == (0.05, INTERVAL)
    assert study["baseline"] == {"trial": 0, "value": 0.59, **BASELINE}
    gain = best["gain"]
    assert gain["value"] == pytest.approx(0.05)
    assert (gain["split"], gain["examples"], gain["test"], gain["is_noise"]) == ("test", 40, "mcnemar", True)
    assert gain["p_value"] == pytest.approx(22 / 64)
    assert gain["interval"]["low"] < 0 < gain["interval"]["high"]
    assert best["note"].startswith(
        "The gain over the baseline, trial 0, is within the noise and may be chance: +0.0500 "
    )
    assert "`confirm: {candidates: 3, seeds: 3}` in the spec" in best["note"]
    assert house.get("/v1/studies")["items"][0]["best"] == best, "also in listings"
    assert names(Path(a.store)) == {"best-1", "model.tar.gz"}, "the link goes"
    assert names(Path(a.store).with_name("1-2")) == set(), "and so do the baseline's weights"


def test_a_gain_above_the_noise_has_no_note(house: Running, worker: ScriptedWorker) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8))
    worker.evaluation = {"sampling": sampling(gained=12, lost=1)}
    worker.evaluate(a)
    best = house.study()["best"]
    assert (best["gain"]["is_noise"], best["note"]) == (False, None)
    assert best["gain"]["interval"]["low"] > 0


def test_a_winner_that_is_the_baseline_is_measured_once(house: Running, worker: ScriptedWorker) -> None:
    a = until_evaluated(house, worker, (0.9, 0.8))
    assert a.baseline is None
    worker.evaluation = {"sampling": {"standard_error": 0.05, "interval": INTERVAL}}
    worker.evaluate(a)
    study = house.study()
    assert study["baseline"] == {"trial": 0, "value": 0.89, "test": study["best"]["test"], "interval": INTERVAL}
    assert study["best"]["gain"] is None
    assert study["best"]["note"].startswith("The search found nothing better than the baseline, trial 0; ")


def test_a_lost_evaluation_gets_the_weights_again(house: Running, worker: ScriptedWorker) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8))
    (Path(a.store) / NAME).unlink()
    house.move_clock(31)
    house.reap()
    again = worker.take(AssignmentKind.EVALUATE)
    assert (again.id, again.baseline) == (a.id, a.baseline)
    assert (Path(again.store) / NAME).read_bytes() == b"weights 0 1"
    worker.finish(again, "failed", reason="error", problem={"message": "No luck."})
    assert house.study()["state"] == "failed"
    house.client.post("/v1/studies/s1/resume").raise_for_status()
    last = worker.take(AssignmentKind.EVALUATE)
    assert last.baseline == a.baseline, "it is kept for as long as the winner may yet be measured"
    worker.evaluate(last)
    assert house.study()["state"] == "completed"


@pytest.mark.full
def test_a_winner_that_was_trained_again_is_measured_beside_it_too(house: Running, worker: ScriptedWorker) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8))
    assert a.checkpoint.best is not None
    (Path(a.store) / a.checkpoint.best.name).unlink()
    worker.finish(a, "failed", reason="damaged", problem={"message": "It is damaged."})
    worker.train(worker.take(AssignmentKind.CONFIRM))
    again = worker.take(AssignmentKind.EVALUATE)
    assert again.store != a.store
    assert (Path(again.store) / NAME).read_bytes() == b"weights 0 1"
    worker.evaluate(again)
    assert names(Path(again.store)) == {"best-1", "model.tar.gz"}


@pytest.mark.full
def test_a_baseline_whose_weights_are_gone_costs_the_winner_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 2})
    first = worker.take()
    worker.train(first)
    for path in Path(first.store).glob("best-*"):
        path.unlink()
    worker.score = lambda params, step: 0.95
    worker.train(worker.take())
    a = worker.take(AssignmentKind.EVALUATE)
    assert a.baseline is None
    worker.evaluation = {"sampling": {"standard_error": 0.05, "interval": INTERVAL}}
    worker.evaluate(a)
    study = house.study()
    assert (study["state"], study["best"]["interval"]) == ("completed", INTERVAL)
    assert study["baseline"]["test"] is study["best"]["gain"] is study["best"]["note"] is None


@pytest.mark.full
def test_a_cancelled_study_keeps_no_baseline(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    trials = []
    for value in (0.6, 0.8):
        trials.append(worker.take())
        worker.score = lambda params, step, value=value: value  # type: ignore[misc]
        worker.train(trials[-1])
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    assert [names(Path(a.store)) for a in trials] == [set(), {"best-1"}]


def test_a_study_of_older_semantics_stays_as_it_was(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 2})
    with house.core.database.transaction() as session:
        study = session.scalars(sqlalchemy.select(StudyRow)).one()
        study.spec = study.spec.with_semantics(NOISE_MEASURED - 1)
    first = worker.take()
    worker.train(first)
    worker.score = lambda params, step: 0.95
    worker.train(worker.take())
    assert names(Path(first.store)) == set()
    a = worker.take(AssignmentKind.EVALUATE)
    assert a.baseline is None
    assert "baseline" not in a.model_dump(mode="json")
    worker.evaluate(a)
    study_view = house.study()
    assert study_view["best"]["interval"] is study_view["baseline"]["test"] is None


@pytest.mark.full
def test_a_link_that_a_crash_left_is_an_orphan(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8))
    clock = iter(range(0, 10_000, 1_000))
    sweeper = Orphans(house.core, clock=lambda: float(next(clock)))
    for _ in range(3):
        sweeper.sweep()
    assert NAME in names(Path(a.store)), "not while it is read"
    with monkeypatch.context() as patch:
        remove: Callable[..., None] = FileStore.remove
        patch.setattr(FileStore, "remove", lambda store, place: None if place.name == NAME else remove(store, place))
        worker.evaluate(a)
    assert NAME in names(Path(a.store))
    for _ in range(3):
        sweeper.sweep()
    assert names(Path(a.store)) == {"best-1", "model.tar.gz"}
    assert orphans.LEAST_SECONDS < 1_000


@pytest.mark.full
def test_what_cannot_be_read_of_it_is_not_shown(house: Running, worker: ScriptedWorker) -> None:
    a = until_evaluated(house, worker, (0.6, 0.8))
    worker.evaluation = {"sampling": sampling(gained=4, lost=2)}
    worker.evaluate(a)
    with house.core.database.transaction() as session:
        session.execute(sqlalchemy.text("UPDATE luthier_study SET noise = '{\"colour\": 1}'"))
    best = house.study()["best"]
    assert best["test"] is not None
    assert best["interval"] is best["gain"] is best["note"] is None
