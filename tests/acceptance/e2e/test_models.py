"""A study over two models of different depth and both strategies, through the real service and a worker."""

import json
from pathlib import Path
from typing import Any

from tests.support.archives import unpack_tar
from tests.support.served import Served, spec
from tests.support.tiny import tiny_csv, tiny_model


def test_models_and_strategies_are_searched_together(shared: Served, tiny: Path, tmp_path: Path) -> None:
    folder = tiny / "several"
    depths = {str(tiny_model(folder / name, layers=layers)): layers for name, layers in (("small", 2), ("deep", 4))}
    data = {"source": str(tiny_csv(folder / "data.csv", rows=240)), "validation": 0.2, "test": 0.2}
    space: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 1}
    space |= {"strategy": ["full", "lora"], "freeze_depth": [0.5, 0.6]}  # of two and of four layers the same blocks
    document = spec(tiny, "several", model=list(depths), dataset=data, space=space, sampler={"name": "grid"})
    plan = shared.client.post("/v1/studies:plan", json=document, timeout=60).raise_for_status().json()
    assert {model["model"]: len(model["blocks"]) for model in plan["models"]} == depths
    assert plan["space"]["model"] == list(depths)

    shared.client.post("/v1/studies", json=document | {"budget": {"trials": 9}}).raise_for_status()
    study, trials = shared.ended("several"), shared.trials("several")
    assert study["state"] == "completed"
    assert "exhausted: all of its 4" in study["message"]
    assert {(t["params"]["model"], t["params"]["strategy"], t["state"]) for t in trials} == {
        (model, strategy, "complete") for model in depths for strategy in ("full", "lora")
    }
    assert all(trial["params"]["freeze_depth"] in (0.5, 0.6) for trial in trials)
    assert len(trials) == 4

    unpack_tar(shared.client.get(study["model"]["url"]).content, tmp_path / "model")
    winner = next(path.parent for path in (tmp_path / "model").rglob("config.json"))
    made, best = json.loads((winner / "luthier.json").read_text()), study["best"]
    assert made["search_params"] == best["params"]
    assert made["test"] == best["test"]
    assert made["params"]["freeze_depth"] == depths[best["params"]["model"]] // 2
    assert json.loads((winner / "config.json").read_text())["num_hidden_layers"] == depths[best["params"]["model"]]
