"""Data that is away while a study runs, and a worker that lacks it: the study ends as if it had always been there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.external_workers import external_worker
from tests.support.served import Served, spec
from tests.support.tiny import tiny_csv
from tests.support.waiting import until

Serve = Callable[..., Served]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The file that is moved away, in a folder of its own."""
    (tmp_path / "disk").mkdir()
    return tiny_csv(tmp_path / "disk" / "data.csv", rows=400)


def document(tiny: Path, data: Path, **changes: Any) -> dict[str, Any]:
    dataset = {"source": str(data), "validation": 0.2, "test": 0.2}
    changed = spec(tiny, "away", dataset=dataset, budget={"trials": 4, "failures": 1}) | changes
    changed["space"] |= {"batch_size": 8, "freeze_depth": [0, 1]}
    return changed


def scores(served: Served) -> list[Any]:
    return [(trial["params"], trial["seed"], trial["value"], trial["values"]) for trial in served.trials("away")]


@pytest.fixture(scope="module")
def undisturbed(shared: Served, tiny: Path) -> list[Any]:
    """The scores of a study over the same rows that were always there."""
    shared.client.post("/v1/studies", json=document(tiny, tiny / "data.csv")).raise_for_status()
    assert shared.ended("away")["state"] == "completed"
    return scores(shared)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("empty_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.wide)], indirect=True)
def test_data_that_is_away_for_a_moment_costs_a_pause(
    serve: Serve, tiny: Path, data: Path, empty_url: str, undisturbed: list[Any]
) -> None:
    """The service is killed while the data is away, and the study waits for it with the sentence."""
    served = serve(LUTHIER_DATABASE_URL=empty_url, LUTHIER_DATA_ROOTS=f"{tiny}:{data.parent}")
    served.client.post("/v1/studies", json=document(tiny, data)).raise_for_status()
    until(lambda: served.study("away")["counts"]["complete"] >= 1, 60)
    moved = data.rename(data.with_suffix(".moved"))
    until(lambda: served.study("away")["warnings"], 60)
    served.kill()
    served.start()
    until(lambda: served.study("away")["state"] == "paused", 60)
    study = served.study("away")
    for part in (f"{data} does not exist on this worker", "Worker ", "`luthier resume away`"):
        assert part in study["message"]
    assert (study["counts"]["failed"], study["error"]) == (0, None)
    served.kill()
    served.start()
    time.sleep(2)
    assert served.study("away")["state"] == "paused"

    moved.rename(data)
    served.client.post("/v1/studies/away/resume").raise_for_status()
    study = served.ended("away")
    assert (study["state"], study["warnings"]) == ("completed", [])
    assert study["counts"] == dict.fromkeys(study["counts"], 0) | {"complete": 4}
    assert scores(served) == undisturbed
    assert study["best"]["test"]["accuracy"] is not None


@pytest.mark.timeout(180)
def test_a_worker_without_the_data_leaves_the_study_to_another(
    serve: Serve, tiny: Path, data: Path, undisturbed: list[Any]
) -> None:
    served = serve(LUTHIER_FLEET="none", LUTHIER_DATA_ROOTS=f"{tiny}:{data.parent}")
    with external_worker(served):
        served.client.post("/v1/studies", json=document(tiny, data)).raise_for_status()
        until(lambda: served.study("away")["counts"]["running"], 60)
        with external_worker(served, LUTHIER_DATA_ROOTS=str(tiny)):
            warned = until(lambda: served.study("away")["warnings"], 90)
            assert "lies outside the folders data may be read from" in warned[0]
            study = served.ended("away")
    assert study["state"] == "completed"
    assert study["counts"] == dict.fromkeys(study["counts"], 0) | {"complete": 4}
    assert scores(served) == undisturbed
