"""A schedule of MiniLM on film reviews: the first champion, unchanged data, and data with another balance of labels.

make test-learning
"""

import csv
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.paired_tests import mcnemar
from tests.support.harness import Running, running
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.learning, pytest.mark.timeout(1200)]
ROWS = 700
SCHEDULE = {
    "name": "reviews",
    "cron": "0 3 * * *",
    "study": {
        "task": "text-classification",
        "model": "models/minilm",
        "dataset": {"source": "", "validation": 0.2, "test": 0.3},
        "space": {"learning_rate": {"low": 1e-4, "high": 3e-4, "log": True}, "batch_size": 16, "epochs": 1},
        "pruner": {"name": "none"},
        "budget": {"trials": 2},
    },
    "promote": {"candidates": 1, "seeds": 2},
}


def rows(negative: int, positive: int, start: int) -> list[dict[str, str]]:
    """So many sentences of each label, from a place in the file on."""
    with (ROOT / "data" / "rotten_tomatoes.csv").open(newline="") as file:
        every = list(csv.DictReader(file))
    chosen = []
    for label, count in (("negative", negative), ("positive", positive)):
        chosen += [row for row in every if row["label"] == label][start : start + count]
    return chosen


def write(path: Path, chosen: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("text", "label"))
        writer.writeheader()
        writer.writerows(chosen)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Running]:
    """A service, and a worker in a process of its own."""
    subprocess.run([sys.executable, str(ROOT / "examples" / "fetch.py"), "minilm", "rotten_tomatoes"], check=True)
    with running(tmp_path / "home", None) as house:
        command = [
            sys.executable,
            "-c",
            "from luthier.service.cli import main; main()",
            "worker",
            "--server",
            house.url,
        ]
        environment = os.environ | {"LUTHIER_DATA_ROOTS": f"{ROOT}:{tmp_path}", "HF_HUB_OFFLINE": "1"}
        worker = subprocess.Popen([*command, "--gpu", "cpu"], cwd=ROOT, env=environment)
        try:
            yield house
        finally:
            worker.terminate()
            worker.wait(30)


def test_a_schedule_of_a_real_model(house: Running, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    write(source, rows(ROWS // 2, ROWS // 2, start=0))
    template = SCHEDULE["study"] | {"dataset": SCHEDULE["study"]["dataset"] | {"source": str(source)}}  # type: ignore[operator, index]
    answer = house.client.post("/v1/schedules", json=SCHEDULE | {"study": template}).raise_for_status()
    now = datetime.fromisoformat(answer.json()["next"][0]).timestamp()

    def due(days: int) -> dict[str, Any]:
        """The run of that day, to its end."""

        def last() -> dict[str, Any]:
            house.tick(now + 86_400 * days)
            run = house.get("/v1/schedules/reviews/runs?limit=1")["items"][0]
            return {} if run["state"] == "running" else run

        return dict(until(last, 500))

    first = due(0)
    assert first["outcome"] == "first", first
    assert first["score"] > 0.6, first
    assert (due(1)["state"], due(1)["reason"]) == ("skipped", "unchanged")

    write(source, rows(ROWS // 2, ROWS // 2, start=0) + rows(300, 60, start=ROWS // 2))
    third = due(2)
    assert third["outcome"] in ("promoted", "kept"), third
    decision = third["decision"]
    (file,) = (house.settings.home / "store").glob("*/predictions.csv.gz")
    with gzip.open(file, "rt") as text:
        said = list(csv.DictReader(text))
    assert len(said) == decision["examples"] > 150
    right = {side: [row[side] == row["label"] for row in said] for side in ("champion", "challenger")}
    for side, hits in right.items():
        assert decision[side]["accuracy"] == pytest.approx(sum(hits) / len(said))
    hits = list(zip(right["champion"], right["challenger"], strict=True))
    gained, lost = hits.count((False, True)), hits.count((True, False))
    again = mcnemar(gained, lost, len(said), 0.95)
    assert (decision["gained"], decision["lost"]) == (gained, lost)
    assert decision["test"]["p_value"] == pytest.approx(again.p_value)
    assert decision["promoted"] == (again.p_value <= 0.05 and gained > lost)
    champion = house.get("/v1/schedules/reviews")["champion"]
    assert champion["study"] == (third if decision["promoted"] else first)["study"]
    print(f"first {first['score']:.3f}; then {third['message']}")
