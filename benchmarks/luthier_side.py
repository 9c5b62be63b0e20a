"""Luthier's side of vs_trainer.py: an embedded service and workers, as `luthier run` starts them.

vs_trainer.py starts it as a process. The study's configurations are posted as the user's own trials after its
inspection; states and times are those that the REST interface gives.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

STARTING = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mix import CONFIGURATIONS, FIXED, MAX_LENGTH, MIX, NAMES, cpu_seconds, trial  # noqa: E402

from luthier.service.client import Client  # noqa: E402
from luthier.service.dispatch.claims import Claims  # noqa: E402
from luthier.service.schemas import StudyView, TrialView  # noqa: E402
from luthier.service.server.embedded import Embedded  # noqa: E402
from luthier.service.settings import Settings  # noqa: E402
from luthier.studies.protocol import StudyState, TrialState  # noqa: E402
from luthier.studies.spec import StudySpec  # noqa: E402

NAME = "fixed"
ENDED = {StudyState.COMPLETED, StudyState.STOPPED, StudyState.CANCELLED, StudyState.FAILED}
POLL_SECONDS = 0.1


def spec(options: argparse.Namespace) -> dict[str, Any]:
    """Return the study's spec: splits that are given, a space that holds all configurations, no pruning."""
    splits = {split: str(options.work.resolve() / f"{split}.csv") for split in ("train", "validation")}
    space: dict[str, Any] = {
        "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
        "batch_size": [8, 16, 32],
        "epochs": {"low": 1, "high": 3},
        "weight_decay": {"low": 0.0, "high": 0.3},
        "freeze_depth": {"low": 0, "high": "auto"},
    }
    return {
        "name": NAME,
        "task": "text-classification",
        "model": str(Path(options.model).resolve()),
        "dataset": {"source": splits, "validation": "validation", "test": 0},
        "space": space | FIXED | {"max_length": MAX_LENGTH},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "seed": options.seed,
        "budget": {"trials": len(CONFIGURATIONS)},
        "parallel": options.workers,
    } | precision(options.precision)


def precision(name: str | None) -> dict[str, str]:
    """Return the spec's field for a precision; empty for None. Exits where an older Luthier has no such field."""
    if name is None:
        return {}
    if "precision" not in StudySpec.model_fields:
        sys.exit("This Luthier's spec has no `precision`; leave --precision out.")
    return {"precision": name}


@contextlib.contextmanager
def nothing_drawn() -> Iterator[None]:
    """Keep the sampler from drawing trials inside the context: only posted configurations run."""
    draw = Claims._draw_trial
    Claims._draw_trial = lambda *_: None  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Claims._draw_trial = draw  # type: ignore[method-assign]


def wait(client: Client, done: Callable[[StudyView], bool]) -> StudyView:
    """Return the study once `done(study)` is true. Exits when the study fails."""
    while not done(study := client.get(NAME)):
        if study.state is StudyState.FAILED:
            sys.exit(f"The study failed: {study.error}")
        time.sleep(POLL_SECONDS)
    return study


def search(options: argparse.Namespace) -> dict[str, Any]:
    """Run the study, and return its phases (seconds), CPU time (seconds) and trials."""
    settings = Settings(home=options.work / "luthier", cpu_workers=options.workers)
    with Embedded(settings, study=NAME) as service, Client(service.url, service.token) as client:
        while not any(True for _ in client.workers()):  # a worker asks for work once its libraries begin to load
            time.sleep(POLL_SECONDS)
        up = time.perf_counter()
        with nothing_drawn():
            client.create(spec(options))
            wait(client, lambda study: study.state is StudyState.RUNNING)
            client.pause(NAME)  # so that all start from the same moment
        for configuration in CONFIGURATIONS[1:]:  # the first is the baseline, which comes with the first of these
            client.enqueue(NAME, configuration)
        ready, cpu = time.perf_counter(), cpu_seconds()
        client.resume(NAME)
        wait(client, lambda study: study.counts.complete >= len(MIX))
        cpu = cpu_seconds() - cpu
        wait(client, lambda study: study.counts.complete == len(CONFIGURATIONS))
        end = time.perf_counter()
        wait(client, lambda study: study.state in ENDED)
        phases = {"start-up": up - STARTING, "inspection": ready - up, "winner": time.perf_counter() - end}
        return {"phases": phases, "cpu_seconds": cpu} | report(list(client.trials(NAME)))


def report(trials: list[TrialView]) -> dict[str, Any]:
    """Return the trials, and the seconds from the start of the mix's first trial to the end of its last.

    A trial lasts from its worker's claim to its end.
    """
    assert all(t.state is TrialState.COMPLETE for t in trials), [(t.number, t.state, t.error) for t in trials]
    rows = [
        trial(
            {name: t.params[name] for name in NAMES}, t.seconds or 0.0, [v.metrics["accuracy"] or 0 for v in t.values]
        )
        for t in trials
    ]
    assert [t["params"] for t in rows] == list(CONFIGURATIONS), [t["params"] for t in rows]
    mix = trials[: len(MIX)]
    started: datetime = min(t.started_at for t in mix if t.started_at)
    ended = max(t.finished_at for t in mix if t.finished_at)
    return {
        "wall_seconds": (ended - started).total_seconds(),
        "trials": rows,
        "examples_per_second": [t.examples_per_second for t in trials],
    }


def main() -> None:
    """Run the study that the options name, and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder with train.csv and validation.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--precision")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    options.out.write_text(json.dumps(search(options)))


if __name__ == "__main__":
    main()
