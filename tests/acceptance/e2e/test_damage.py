"""Files that are damaged on the disk under a real service: no trial and no study is lost to it."""

import io
import json
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.service.dispatch.orphans import LEAST_SECONDS, Orphans
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from tests.support.served import Served, spec
from tests.support.waiting import until

Serve = Callable[..., Served]


def document(tiny: Path, trials: int) -> dict[str, Any]:
    changed = spec(tiny, "damage", budget={"trials": trials}, parallel=1)
    rates = {"low": 1e-6, "high": 5e-3, "log": True}
    return changed | {"space": {"learning_rate": rates, "batch_size": 4, "epochs": 3, "freeze_depth": 0}}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def evaluated(served: Served, number: int) -> int:
    trials = served.trials("damage")
    return len(trials[number]["values"]) if len(trials) > number else 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("role", ["resume", pytest.param("best", marks=pytest.mark.wide)])
def test_a_killed_trial_whose_files_are_damaged_starts_over(serve: Serve, tiny: Path, role: str) -> None:
    served = serve()
    served.client.post("/v1/studies", json=document(tiny, 1)).raise_for_status()
    until(lambda: 2 <= evaluated(served, 0) < 6, 60)
    below = served.processes()
    served.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in below), 10)
    store = Path(served.environment["LUTHIER_HOME"]) / "store"
    files = list(store.glob(f"*/*.{role}.safetensors"))
    assert files
    for path in files:
        flip(path)
    served.start()
    study = served.ended("damage")
    assert (study["state"], study["error"], study["counts"]["complete"]) == ("completed", None, 1)
    assert [value["step"] for value in served.trials("damage")[0]["values"]] == [1, 2, 3, 4, 5, 6]
    log = served.client.get("/v1/studies/damage/trials/0/logs").text
    assert f".{role}.safetensors is missing or damaged" in log
    assert "Attempt 2 starts at the beginning" in log
    assert not any("weights" in warning for warning in study["warnings"])


@pytest.mark.timeout(180)
def test_a_damaged_winner_is_trained_again_to_the_same_score_and_nothing_is_left(serve: Serve, tiny: Path) -> None:
    served = serve()
    served.client.post("/v1/studies", json=document(tiny, 2)).raise_for_status()
    until(lambda: evaluated(served, 0) >= 1, 60)
    worse = {"params": {"learning_rate": 1e-6}}
    served.client.post("/v1/studies/damage/trials", json=worse).raise_for_status()
    until(lambda: evaluated(served, 1) >= 1, 60)
    store = Path(served.environment["LUTHIER_HOME"]) / "store"
    flip(next(store.glob("1-2/*.best.safetensors")))
    child = next(pid for pid, line in served.processes() if "-m luthier.trials.child " in line)
    os.kill(child, signal.SIGKILL)
    study = served.ended("damage")
    assert (study["state"], study["best"]["trial"], len(served.trials("damage"))) == ("completed", 0, 2)
    (told,) = (warning for warning in study["warnings"] if "The weights of trial 0 were damaged" in warning)
    assert "It was trained again from its seed." in told
    assert study["best"]["test"]["accuracy"] is not None
    with tarfile.open(fileobj=io.BytesIO(served.client.get("/v1/studies/damage/model").content)) as archive:
        about = json.load(archive.extractfile("luthier.json"))  # type: ignore[arg-type]
    assert about["validation"] in [value["metrics"] for value in served.trials("damage")[0]["values"]]
    served.kill(signal.SIGTERM)

    core = build_core(Settings(home=Path(served.environment["LUTHIER_HOME"]), database_url=None))
    now = [0.0]
    orphans = Orphans(core, clock=lambda: now[0])
    for now[0] in (0.0, LEAST_SECONDS):
        orphans.sweep()
    core.close()
    left = sorted(path.name for path in store.glob("*/*") if path.name != "log.txt")
    assert len(left) == 2
    assert left[0].endswith(".best.safetensors")
    assert left[1] == "model.tar.gz"
