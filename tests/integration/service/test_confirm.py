"""The best configurations trained again on fresh seeds: a lucky run does not win, and what wins is kept whole."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from luthier.studies.spec import trial_seed
from tests.support.harness import Running, ScriptedWorker

pytestmark = pytest.mark.both_databases

CONFIRM = {"confirm": {"candidates": 2, "seeds": 2}, "budget": {"trials": 4}, "parallel": 1}


def play(house: Running, worker: ScriptedWorker, first: list[float], again: dict[int, list[float]]) -> dict[str, Any]:
    """Trials score as `first` says; repetitions, by their seed, as `again` does for their trial. -1: it diverges."""
    seeds = {trial_seed(0, n, i + 1): value for n, values in again.items() for i, value in enumerate(values)}
    while (a := worker.claim()) is not None:
        value = first[a.number or 0] if a.kind is AssignmentKind.TRAIN else seeds.get(a.seed, 0.0)
        worker.score = lambda params, step, value=value: value  # type: ignore[misc]
        if a.kind is AssignmentKind.CONFIRM and value < 0:
            worker.finish(a, "pruned", reason="diverged")
        else:
            worker.work(a)
    return house.study()


def test_a_lucky_run_does_not_win(house: Running, worker: ScriptedWorker) -> None:
    house.create(**CONFIRM)
    study = play(house, worker, [0.5, 0.9, 0.6, 0.8], {1: [0.6, 0.7], 3: [0.75, 0.79]})
    assert study["state"] == "completed"
    assert study["best"]["trial"] == 3
    found = [(c["trial"], sorted(c["values"])) for c in study["confirmed"]]
    assert found == [(1, [0.6, 0.7]), (3, [0.75, 0.79])]
    assert study["counts"]["complete"] == 4
    assert len(house.trials()) == 4
    assert len(house.optuna()) == 4
    assert {t.state.name for t in house.optuna()} == {"COMPLETE"}

    archive = house.client.get("/v1/studies/s1/model").content
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        about = json.loads(tar.extractfile("luthier.json").read())  # type: ignore[union-attr]
        weights = tar.extractfile("model.safetensors").read().decode()  # type: ignore[union-attr]
    assert about["trial"] == 3
    assert about["validation"]["accuracy"] == 0.79
    assert weights.startswith("weights 3 ")  # of repetition 3: the second seed of the second candidate
    kept = {path.name for path in (house.settings.home / "store").glob("*/best-*")}
    assert len(kept) == 1


@pytest.mark.full
def test_one_that_diverges_again_is_not_trusted(house: Running, worker: ScriptedWorker) -> None:
    house.create(**CONFIRM)
    study = play(house, worker, [0.5, 0.9, 0.6, 0.8], {1: [0.95, -1], 3: [0.7, 0.71]})
    assert study["best"]["trial"] == 3


def test_where_no_repetition_ends_the_best_trial_wins(house: Running, worker: ScriptedWorker) -> None:
    house.create(**CONFIRM)
    study = play(house, worker, [0.5, 0.9, 0.6, 0.8], {1: [-1, -1], 3: [-1, -1]})
    assert study["best"]["trial"] == 1
    assert study["model"] is not None
    assert study["confirmed"] == []


def test_repetitions_run_beside_each_other_and_are_given_to_another_when_their_worker_vanishes(
    house: Running, worker: ScriptedWorker
) -> None:
    house.create(**CONFIRM | {"parallel": 2})
    while (a := worker.claim()) is not None and a.kind is not AssignmentKind.CONFIRM:
        worker.work(a)
    assert a is not None
    second = house.worker("w2").take(AssignmentKind.CONFIRM)
    assert house.worker("w3").claim() is None  # `parallel` holds for them, too
    worker.train(second)
    house.move_clock(31)
    house.reap()
    again = house.worker("w4")
    retried = again.take(AssignmentKind.CONFIRM)
    assert (retried.number, retried.seed, retried.attempt) == (a.number, a.seed, 2)
    again.work(retried)
    again.drain()
    assert house.study()["state"] == "completed"
    assert len(house.study()["confirmed"]) == 2


def test_the_weights_of_repetitions_are_kept_until_the_winner_is_measured(
    house: Running, worker: ScriptedWorker
) -> None:
    house.create(**CONFIRM | {"confirm": {"candidates": 2, "seeds": 3, "average": True}})
    again = {1: [0.6, 0.7, 0.5], 3: [0.75, 0.79, 0.77]}
    seeds = {trial_seed(0, n, i + 1): value for n, values in again.items() for i, value in enumerate(values)}
    while (a := worker.claim()) is not None and a.kind is not AssignmentKind.EVALUATE:
        value = seeds[a.seed] if a.kind is AssignmentKind.CONFIRM else [0.5, 0.9, 0.6, 0.8][a.number or 0]
        worker.score = lambda params, step, value=value: value  # type: ignore[misc]
        worker.work(a)
    assert a is not None
    assert [(member.value, seeds[member.seed]) for member in a.members] == [(0.77, 0.77), (0.75, 0.75)]
    folder = Path(a.store)
    links = sorted(path.name for path in folder.glob("member-*"))
    assert links == [member.weights.name for member in a.members] == ["member-0.safetensors", "member-1.safetensors"]
    assert all((folder / member.weights.name).stat().st_size == member.weights.bytes for member in a.members)
    worker.work(a)
    study = house.study()
    assert (study["state"], study["best"]["trial"]) == ("completed", 3)
    assert not list(folder.glob("member-*"))
    assert len(list((house.settings.home / "store").glob("*/best-*"))) == 1
