"""Luthier's side of time_to_best.py: an embedded service and workers, as `luthier run` starts them.

time_to_best.py starts it as a process. Sampler, pruner and all else of the search are the defaults of a spec; the times
of evaluations are those that the service wrote down.
"""

import argparse
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from curve_tasks import CURVE_TASKS, SPACE
from luthier_side import ENDED, POLL_SECONDS, precision

from luthier.service.client import Client
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from luthier.studies.protocol import StudyState

NAME = "soon"
MAX_LENGTH = 64  # tokens, as the Trainer's side
EVALUATIONS = """
    SELECT report.at, report.metrics FROM luthier_report AS report
    JOIN luthier_assignment AS trial ON trial.id = report.assignment_id WHERE trial.kind = 'train'
"""
BEGIN = "SELECT min(started_at) FROM luthier_assignment WHERE kind = 'train'"


def spec(options: argparse.Namespace) -> dict[str, Any]:
    """Return the study's spec."""
    task = CURVE_TASKS[options.task]
    files = {split: str(options.work.resolve() / f"{split}.csv") for split in ("train", "validation", "test")}
    fixed = {"max_length": MAX_LENGTH} if task.column == "text" else {}
    return {
        "name": NAME,
        "task": task.task,
        "model": str(options.model.resolve()),
        "dataset": {"source": files, "validation": "validation", "test": "test"},
        "space": SPACE | fixed,
        "seed": options.seed,
        "budget": {"wall_clock_seconds": options.seconds},
        "parallel": options.workers,
    } | precision(options.precision)


def search(options: argparse.Namespace) -> dict[str, Any]:
    """Run the study to its end, and return its scores over time and the winner's test score."""
    home = options.work / "luthier"
    settings = Settings(home=home, cpu_workers=options.workers)
    with Embedded(settings, study=NAME) as service, Client(service.url, service.token) as client:
        client.create(spec(options))
        while (study := client.get(NAME)).state not in ENDED:
            time.sleep(POLL_SECONDS)
        if study.state is StudyState.FAILED or study.model is None or study.model.test is None:
            raise SystemExit(f"The study {study.state}: {study.error or study.message}")
        trials = len(list(client.trials(NAME)))
        begin, points = measured(settings)
        return {"first_trial": begin, "points": points, "trials": trials, "test": study.model.test["accuracy"]}


def measured(settings: Settings) -> tuple[float, list[tuple[float, float]]]:
    """Return when the first trial began, and the time and accuracy of each evaluation, from the study's database."""
    path = settings.sqlalchemy_url.removeprefix("sqlite:///")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        (begin,) = database.execute(BEGIN).fetchone()
        rows = [(at, json.loads(metrics).get("accuracy")) for at, metrics in database.execute(EVALUATIONS)]
    return begin, [(at, value) for at, value in rows if value is not None]


def main() -> None:
    """Run the study that the options name, and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder with train.csv, validation.csv and test.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--precision")
    parser.add_argument("--seed", type=int, required=True)
    options, _ = parser.parse_known_args()
    options.out.write_text(json.dumps(search(options)))


if __name__ == "__main__":
    main()
