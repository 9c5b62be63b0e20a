"""The fixed cost of a trial: what it takes beside its steps and evaluations, by phase, in milliseconds of CPU time.

    python benchmarks/fixed_cost.py [--trials 12] [--layers 4] [--hidden 128] [--rows 400] [--json]

A study of one worker fine-tunes the head of a BERT of random weights on cached features: an embedded service, a worker
and its child do all that a user's study does. CPU time is that of each process between the end of an early trial and
that of the last one, less what the same processes take in that time while the study is paused (their clocks, and this
program's looks): so a busy machine changes it little. `gap` is the wall time from a trial's end to the next claim.
Then this process runs the same trials with a clock around each phase of the child. `fixed` is the CPU time of all three
processes less that of steps and evaluations: claim to first step, and last step to next claim, on an idle core.

The last line of --json: {"fixed_ms":, "processes_ms": {}, "phases_ms": {}, "step_ms":, "gap_ms":}.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import step as steps_of
import torch

from luthier.service.client import Client
from luthier.service.schemas import StudyView, TrialView
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from luthier.studies.protocol import Assignment, AssignmentKind, TrialState
from luthier.trials.jobs import train as job
from luthier.trials.jobs.inspect import inspect
from luthier.trials.model.backbone import Backbone
from luthier.trials.training import setup
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache

NAME, EARLY, POLL_SECONDS, IDLE_LOOKS = "fixed-cost", 2, 1.0, 5
CHILD = "luthier.trials.child"
TIMED: tuple[tuple[str, Any, str], ...] = (
    ("open data and model", ModelCache, "open"),
    ("reset, head, freeze", setup, "prepare"),
    ("cached features", Engine, "enable_shortcuts"),
    ("optimizer", setup.optim, "build"),
    ("batches", job.EpochParts, "before"),
    ("modes", Backbone, "train_mode"),
    ("steps", job, "train_steps"),
    ("evaluations", job, "validate"),
    ("best weights", job.CheckpointWriter, "write_best"),
    ("resume file", job.CheckpointWriter, "write_resume"),
)
"""A phase of a trial in its child, and the function that does it. None calls another."""
WORK = ("steps", "evaluations")


def cpu_ms() -> dict[str, float]:
    """Return the CPU time of the service (this process), of the worker and of its child, in milliseconds."""
    found = {"service": psutil.Process()}
    for process in psutil.Process().children(recursive=True):
        found["child" if CHILD in process.cmdline() else "worker"] = process
    return {name: sum(process.cpu_times()[:2]) * 1e3 for name, process in found.items()}


def ended(client: Client) -> list[TrialView]:
    """Return the trials that are complete, in order."""
    return [trial for trial in client.trials(NAME) if trial.state is TrialState.COMPLETE]


def whole_way(spec: dict[str, Any], home: Path, trials: int) -> tuple[dict[str, float], float]:
    """Run the study; return the CPU time of each process for a trial, and the median gap, in milliseconds."""
    with (
        Embedded(Settings(home=home, cpu_workers=1), study=NAME) as service,
        Client(service.url, service.token) as client,
    ):
        client.create(spec)

        def wait(done: Callable[[StudyView], bool]) -> None:
            while not done(client.get(NAME)):
                time.sleep(POLL_SECONDS)

        wait(lambda study: study.counts.complete >= EARLY)
        first, before, began = len(ended(client)), cpu_ms(), time.perf_counter()
        wait(lambda study: study.counts.complete >= trials)
        after, rows, seconds = cpu_ms(), ended(client), time.perf_counter() - began
        client.pause(NAME)
        wait(lambda study: study.counts.running == 0)
        idle, began = cpu_ms(), time.perf_counter()
        for _ in range(IDLE_LOOKS):
            client.get(NAME)
            time.sleep(POLL_SECONDS)
        elapsed, rest = time.perf_counter() - began, cpu_ms()
    gaps = [
        (later.started_at - row.finished_at).total_seconds() * 1e3
        for row, later in zip(rows[first:-1], rows[first + 1 :], strict=True)
        if later.started_at and row.finished_at
    ]
    spent = {name: after[name] - before[name] - (rest[name] - idle[name]) * seconds / elapsed for name in before}
    return {name: value / (len(rows) - first) for name, value in spent.items()}, statistics.median(gaps)


@contextlib.contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Yield the seconds of CPU time of each phase, which are counted inside the context."""
    spent: dict[str, float] = defaultdict(float)

    def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[phase] += time.process_time() - began

        return call

    own = [(place, name, getattr(place, name)) for _, place, name in TIMED]
    for phase, place, name in TIMED:
        setattr(place, name, timed(phase, getattr(place, name)))
    try:
        yield spent
    finally:
        for place, name, function in own:
            setattr(place, name, function)


def in_the_child(assignment: Assignment, folder: Path, trials: int) -> dict[str, float]:
    """Run trials in this process; return the CPU time of each phase for a trial, in milliseconds."""
    cache, session = ModelCache(), steps_of.Quiet(folder)
    with contextlib.redirect_stdout(None):
        found = inspect(assignment.model_copy(update={"kind": AssignmentKind.INSPECT}), session, cache)
        assignment = assignment.model_copy(update={"inspection": found})
        for seed in range(EARLY):
            job.train(assignment.model_copy(update={"seed": seed}), session, cache)
        with clocks() as spent:
            began = time.process_time()
            for seed in range(EARLY, trials):
                job.train(assignment.model_copy(update={"seed": seed}), session, cache)
            whole = time.process_time() - began
    spent["the rest of the child"] = whole - sum(spent.values())
    return {phase: seconds * 1e3 / (trials - EARLY) for phase, seconds in spent.items()}


def main() -> None:
    """Print the phases, and what a trial costs beside its steps and evaluations."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("trials", 12), ("layers", 4), ("hidden", 128), ("rows", 400), ("tokens", 16), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.precision, options.model, options.data, options.depth = "auto", None, None, options.layers
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fixed-cost-") as name:
        folder = Path(name)
        steps_of.write(folder, options)
        assignment = steps_of.assignment(folder, options)
        phases = in_the_child(assignment, folder, options.trials)
        spec = assignment.spec.model_dump(mode="json", exclude_unset=True)
        spec |= {"name": NAME, "parallel": 1, "budget": {"trials": 4 * options.trials}, "sampler": {"name": "random"}}
        spec["space"]["learning_rate"] = {"low": 1e-4, "high": 1e-2, "log": True}
        processes, gap = whole_way(spec | {"pruner": {"name": "none"}}, folder / "home", options.trials)
    count = -(-round(options.rows * steps_of.TRAINED) // options.batch)
    fixed = sum(processes.values()) - sum(phases[phase] for phase in WORK)
    for phase, spent in sorted(phases.items(), key=lambda item: -item[1]):
        print(f"  {spent:7.1f} ms  child: {phase}" + (f" ({spent / count:.2f} ms a step)" if phase == "steps" else ""))
    for process, spent in processes.items():
        print(f"  {spent:7.1f} ms  all of the {process}")
    print(
        f"A trial costs {fixed:.0f} ms beside its steps and evaluations; from its end to the next claim {gap:.0f} ms."
    )
    if options.json:
        told = {"fixed_ms": fixed, "processes_ms": processes, "phases_ms": phases, "gap_ms": gap}
        print(json.dumps(told | {"step_ms": phases["steps"] / count}))


if __name__ == "__main__":
    main()
