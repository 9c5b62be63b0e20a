"""A schedule end to end: a real service and workers, real fine-tuning of a small model, and a kill -9 in the middle."""

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from luthier.studies.paired_tests import mcnemar
from tests.support.archives import unpack_tar
from tests.support.served import Served, spec
from tests.support.tiny import tiny_rows
from tests.support.waiting import until


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    part.replace(path)


def schedule(tiny: Path, source: Path) -> dict[str, Any]:
    template = {key: value for key, value in spec(tiny, "none").items() if key != "name"}
    template |= {
        "dataset": {"source": str(source), "validation": 0.2, "test": 0.3},
        "budget": {"trials": 2},
        "evaluations_per_epoch": 1,
    }
    template["space"] = {"learning_rate": {"low": 2e-3, "high": 4e-3}, "batch_size": 8, "epochs": 3, "freeze_depth": 0}
    promote = {"candidates": 1, "seeds": 1}
    return {"name": "nightly", "cron": "0 0 1 1 *", "study": template, "promote": promote}


def ended(served: Served, seconds: float = 100) -> dict[str, Any]:
    """The last run, once it has ended."""

    def last() -> dict[str, Any]:
        found = served.client.get("/v1/schedules/nightly/runs?limit=1").raise_for_status().json()["items"][0]
        return dict(found) if found["state"] != "running" else {}

    return dict(until(last, seconds))


@pytest.mark.timeout(240)
def test_a_champion_is_found_kept_through_a_kill_and_replaced_by_a_better_one(
    serve: Callable[..., Served], tiny: Path, tmp_path: Path
) -> None:
    source = tiny / "moving.csv"
    wrong = {"joy": "anger", "anger": "joy"}
    write(source, [(text, wrong[label]) for text, label in tiny_rows(240, seed=1)])  # labels that will turn out wrong
    served = serve()
    served.client.post("/v1/schedules", json=schedule(tiny, source)).raise_for_status()
    served.client.post("/v1/schedules/nightly/trigger").raise_for_status()
    first = ended(served)
    assert first["outcome"] == "first", first
    old = served.client.get("/v1/schedules/nightly/champion").raise_for_status().content

    write(source, tiny_rows(400, seed=2))
    served.client.post("/v1/schedules/nightly/trigger").raise_for_status()
    until(lambda: served.trials(served.client.get("/v1/schedules/nightly").json()["last_runs"][0]["study"]), 60)
    served.kill(signal.SIGKILL)
    served.start()
    assert served.client.get("/v1/schedules/nightly/champion").content == old
    second = ended(served)
    assert second["outcome"] == "promoted", (second["message"], second["decision"])
    decision = second["decision"]
    assert decision["champion"]["accuracy"] < 0.5 < decision["challenger"]["accuracy"]
    again = mcnemar(decision["gained"], decision["lost"], decision["examples"], 0.95)
    assert decision["test"]["p_value"] == again.p_value
    assert decision["test"]["interval"] == list(again.interval)

    answer = served.client.get("/v1/schedules/nightly/champion")
    unpack_tar(answer.content, tmp_path / "champion")
    about = json.loads((tmp_path / "champion" / "luthier.json").read_text())
    assert about["study"] == second["study"]
    assert about["fingerprint"] == second["fingerprint"]
    pipeline = transformers.pipeline("text-classification", str(tmp_path / "champion"), device="cpu")
    assert pipeline("this meal was superb and lovely")[0]["label"] == "joy"
