"""A real study whose service is killed while its winner is measured beside the baseline: all is there, or nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.served import Served, spec
from tests.support.waiting import until


@pytest.mark.full
@pytest.mark.timeout(180)
def test_killed_while_the_winner_is_measured(serve: Callable[..., Served], tiny: Path) -> None:
    served = serve()
    document = spec(tiny, "noise", budget={"trials": 2}, evaluations_per_epoch=1, parallel=1)
    document["space"] |= {"learning_rate": [5e-5, 5e-3], "epochs": 3, "freeze_depth": 0}
    served.client.post("/v1/studies", json=document).raise_for_status()
    until(lambda: served.study("noise")["data"], 60)
    own = {"learning_rate": 5e-3, "batch_size": 4, "weight_decay": 0.0}
    served.client.post("/v1/studies/noise/trials", json={"params": own}).raise_for_status()
    store = Path(served.environment["LUTHIER_HOME"]) / "store"
    until(lambda: next(store.glob("*/baseline.safetensors"), None) is not None, 60, 0.01)
    served.kill()
    served.start()
    study = served.ended("noise")
    assert (study["state"], study["warnings"]) == ("completed", [])
    best, baseline = study["best"], study["baseline"]
    assert best["trial"] == 1, "the baseline learns next to nothing"
    assert best["interval"]["method"] == "wilson"
    assert best["interval"]["low"] <= best["test"]["accuracy"] <= best["interval"]["high"]
    assert 0 < best["standard_error"] < 0.1
    assert best["gain"]["value"] == pytest.approx(best["test"]["accuracy"] - baseline["test"]["accuracy"])
    assert best["gain"]["value"] > 0.2
    assert (best["gain"]["is_noise"], best["note"]) == (False, None)
    kept = sorted(path.name for path in store.rglob("*.safetensors"))
    assert len(kept) == 1, "the winner's weights alone"
