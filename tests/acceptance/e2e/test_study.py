"""One study from spec to model, by `luthier run` and by REST, with real fine-tuning."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import unpack_tar
from tests.support.external_workers import external_worker
from tests.support.served import Served, run, spec
from tests.support.tiny import LABELS, tiny_rows
from tests.support.waiting import until

Serve = Callable[..., Served]


def essence(served: Served, name: str) -> list[Any]:
    return [(t["number"], t["state"], t["params"], t["seed"], t["value"], t["values"]) for t in served.trials(name)]


@pytest.mark.timeout(240)
def test_the_same_seed_gives_the_same_study_by_run_and_by_rest(serve: Serve, tiny: Path, tmp_path: Path) -> None:
    pruned = spec(tiny, "same", pruner={"name": "median", "startup_trials": 3}, budget={"trials": 7})
    first = run(tmp_path / "first", tiny, pruned)
    looked = serve("first", LUTHIER_FLEET="none")
    by_run = essence(looked, "same")
    served = serve("second")
    assert served.client.post("/v1/studies", json=pruned).status_code == 201
    study = served.ended("same")
    assert essence(served, "same") == by_run
    assert {state for _, state, *_ in by_run} == {"complete", "pruned"}
    assert study["best"] == first["best"]
    assert study["counts"] == first["counts"]
    assert study["best"]["test"]["accuracy"] > 0.8
    assert study["baseline"]["value"] is not None
    again = served.client.post("/v1/studies", json=pruned)
    assert again.status_code == 200
    assert again.json()["finished_at"] == study["finished_at"]


def test_the_winner_loads_and_reproduces_its_test_score(shared: Served, tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    document = spec(tiny, "winner", budget={"trials": 2})
    document["space"] |= {"learning_rate": 3e-3, "freeze_depth": [0, 1]}
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended("winner")
    answer = shared.client.get(study["model"]["url"])
    assert len(answer.content) == study["model"]["bytes"]
    unpack_tar(answer.content, tmp_path / "model")
    folder = next(path.parent for path in (tmp_path / "model").rglob("config.json"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert sorted(model.config.label2id) == sorted(LABELS[:2])
    rows = tiny_rows(200, seed=7)
    with torch.inference_mode():
        logits = model(**tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")).logits
    right = [model.config.id2label[int(i)] == label for i, (_, label) in zip(logits.argmax(-1), rows, strict=True)]
    assert sum(right) / len(right) > 0.8
    made = json.loads((folder / "luthier.json").read_text())
    assert made["test"] == study["best"]["test"]
    assert made["trial"] == study["best"]["trial"]


def test_auto_is_the_length_of_the_data_in_every_trial_and_in_the_winner(shared: Served, tiny: Path) -> None:
    document = spec(tiny, "sized", budget={"trials": 2})
    document["space"] |= {"learning_rate": 3e-3, "freeze_depth": [0, 1], "max_length": {"low": 4, "high": "auto"}}
    planned = shared.client.post("/v1/studies:plan", json=document, timeout=120).json()
    assert planned["space"]["max_length"]["high"] == planned["data"]["max_length"]
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended("sized")
    auto = study["data"]["max_length"]
    assert auto == planned["data"]["max_length"]
    assert 8 <= auto <= 16, "sentences of 4 to 12 words, each a token, and two around them"
    assert study["spec"]["space"]["max_length"]["high"] == "auto"
    lengths = [trial["params"]["max_length"] for trial in shared.trials("sized")]
    assert lengths[0] == auto
    assert all(4 <= length <= auto for length in lengths)
    codes = {finding["code"]: finding for finding in study["data"]["findings"]}
    assert f"max_length: auto is {auto}." in codes["lengths"]["message"]
    assert "at the smallest max_length 4" in codes["inputs-cut"]["message"]
    log = shared.client.get("/v1/studies/sized/trials/0/logs").text
    assert f"max_length {auto}: " in log


@pytest.mark.timeout(180)
def test_a_worker_that_shares_no_disk_trains_and_delivers(serve: Serve, tiny: Path, tmp_path: Path) -> None:
    """The store's mark is changed for the worker alone, so every file goes over HTTP under the lease."""
    served = serve(LUTHIER_FLEET="none", LUTHIER_WORKER_TOKEN="worker-token-of-the-test")
    mark = Path(served.environment["LUTHIER_HOME"]) / "store" / ".mark"
    mark.write_text("another machine's")
    with external_worker(served, folder=tmp_path):
        document = spec(tiny, "remote", budget={"trials": 2})
        served.client.post("/v1/studies", json=document).raise_for_status()
        study = served.ended("remote")
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 2
    assert len(served.client.get(study["model"]["url"]).content) == study["model"]["bytes"]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"dataset": {"source": "/etc/passwd"}}, "dataset.source", "passwd"),
        ({"dataset": {"source": "http://127.0.0.1/x.csv"}}, "dataset.source", "http"),
        ({"model": "no/such/model"}, "model", "no/such/model"),
        ({"space": {"freeze_depth": {"low": 0, "high": 9}}}, "space.freeze_depth.high", "3 blocks"),
    ],
)
def test_what_cannot_run_fails_before_any_trial(
    shared: Served, tiny: Path, change: dict[str, Any], path: str, words: str
) -> None:
    document = spec(tiny, "bad-" + path.replace(".", "-").replace("_", "-") + words[:2].lower()) | change
    document["name"] = "".join(c for c in document["name"] if c.isalnum() or c == "-")
    answer = shared.client.post("/v1/studies:plan", json=document, timeout=60)
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert words in answer.json()["detail"]
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended(document["name"], 60)
    assert study["state"] == "failed"
    assert words in study["error"]
    assert sum(study["counts"].values()) == 0


def test_a_trial_that_diverges_is_pruned_and_never_wins(shared: Served, tiny: Path) -> None:
    space = {"learning_rate": 10.0, "optimizer": "sgd", "epochs": 2, "batch_size": 4, "max_grad_norm": 0}
    space |= {"scheduler": "constant", "warmup_ratio": 0, "weight_decay": [0.01, 10.0]}
    document = spec(tiny, "diverges", space=space, sampler={"name": "grid"}, budget={"trials": 5})
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended("diverges")
    assert study["state"] == "completed"
    assert "exhausted" in study["message"]
    assert study["counts"]["complete"] == 1
    assert study["best"]["params"]["weight_decay"] == 0.01
    diverged = next(t for t in shared.trials("diverges") if t["params"]["weight_decay"] == 10.0)
    assert (diverged["state"], diverged["reason"]) == ("pruned", "diverged")


def test_only_the_child_loads_torch(shared: Served, tiny: Path) -> None:
    document = spec(tiny, "light", budget={"trials": 1})
    shared.client.post("/v1/studies", json=document).raise_for_status()
    assert shared.ended("light")["state"] == "completed"
    assert shared.process is not None

    def loads_torch(pid: int) -> bool:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()

    assert not loads_torch(shared.process.pid)
    found = {line.split("-m ")[1].split()[0]: loads_torch(pid) for pid, line in shared.processes()}
    assert found == {"luthier.trials": False, "luthier.trials.child": True}


@pytest.mark.timeout(240)
def test_a_configuration_with_the_seed_of_its_trial_gives_the_same_scores_again(serve: Serve, tiny: Path) -> None:
    served = serve("again")
    document = spec(tiny, "again", budget={"trials": 30}, parallel=1)
    assert served.client.post("/v1/studies", json=document).status_code == 201

    def ended(number: int) -> dict[str, Any]:
        route = f"/v1/studies/again/trials/{number}"

        def trial() -> dict[str, Any] | None:
            answer = served.client.get(route).json()
            return answer if answer.get("state") == "complete" else None

        return until(trial, seconds=100) or {}

    first = ended(1)
    added = served.client.post("/v1/studies/again/trials", json={"params": first["params"], "seed": first["seed"]})
    assert added.status_code == 201, added.text
    served.kill()
    served.start()
    second = ended(added.json()["number"])
    assert second["number"] != first["number"]
    assert [second[key] for key in ("params", "seed", "value", "values")] == [
        first[key] for key in ("params", "seed", "value", "values")
    ]
    other = served.client.post("/v1/studies/again/trials", json={"params": first["params"], "seed": first["seed"] ^ 1})
    assert ended(other.json()["number"])["values"] != first["values"]
    served.client.post("/v1/studies/again/stop")
