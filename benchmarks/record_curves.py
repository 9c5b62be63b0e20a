"""Record learning curves: configurations of a fixed order on four real tasks, each trained to its end.

    python benchmarks/record_curves.py [--task trec ...] [--hours 2] [--most 200] [--work build/curves]

Each finished configuration is written at once to benchmarks/curves/; started again, it goes on with the first one that
is missing, or that is another one in today's order.
Tasks take turns. Configuration 0 is the task's baseline, the others are a scrambled Sobol sequence over the space, so
that its beginning covers the space as well as the whole.

A trial is Luthier's own set-up, steps and evaluations, in this process, on one thread, in bfloat16; it is trained from
cached features where blocks are frozen, which changes scores by rounding alone. Seconds are CPU seconds.
`cached_seconds` are those of this training, at its mean costs for an example. `seconds`, what it costs without the
cache, are the same counts of examples at the costs that are measured without the cache at the end of the trial: of some
steps and of a batch of an evaluation (at depth 0 both are the same). Test rows are not on the clock, nor is the first
filling of the cache, which the JSON file has by depth.
"""

import argparse
import math
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

for variable, value in (("OMP_NUM_THREADS", "1"), ("LUTHIER_CACHE_MEMORY", "0"), ("CUDA_VISIBLE_DEVICES", "")):
    os.environ[variable] = value

import torch  # noqa: E402
import transformers  # noqa: E402
from curve_files import FOLDER, Curve, Params, about, read, write  # noqa: E402
from curve_tasks import CURVE_TASKS, NAMES, SPACE, CurveTask  # noqa: E402
from step import Quiet  # noqa: E402

from luthier.studies.hyperparameters import complete  # noqa: E402
from luthier.studies.protocol import Assignment, AssignmentKind  # noqa: E402
from luthier.studies.semantics import NEWEST_SEMANTICS  # noqa: E402
from luthier.studies.spec import StudySpec  # noqa: E402
from luthier.studies.tasks import TASKS  # noqa: E402
from luthier.trials.data.batches import evaluation_batches  # noqa: E402
from luthier.trials.jobs.train import train_steps  # noqa: E402
from luthier.trials.tasks.statistics import Statistics  # noqa: E402
from luthier.trials.training.epoch_parts import EpochParts  # noqa: E402
from luthier.trials.training.model_cache import ModelCache  # noqa: E402
from luthier.trials.training.seeding import derive, seed_everything  # noqa: E402
from luthier.trials.training.setup import Trial, open_trial  # noqa: E402

SEED = 17
"""Of the order of configurations."""
DIGITS = 5
"""Of the numbers that are drawn, as the file holds them."""
COLD_EXAMPLES = 64
"""Examples on which the cost without the cache is measured: of steps, and of a batch of an evaluation."""


class Silent(Quiet):
    """A session without a worker that keeps no log."""

    def log(self, text: str) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one thread for an example.

    Attributes:
        training: Of an optimizer step's share.
        evaluation: Without gradients.
    """

    training: float
    evaluation: float


def configurations(task: str, depth: int, most: int) -> list[Params]:
    """Return the first configurations of the fixed order: the task's baseline, then a scrambled Sobol sequence."""
    points = torch.quasirandom.SobolEngine(len(NAMES), scramble=True, seed=SEED).draw(most).tolist()
    baseline = {name: TASKS[task].baseline[name] for name in NAMES}
    baseline["epochs"] = min(int(baseline["epochs"]), SPACE["epochs"]["high"])  # as a study clips it to its space
    return [baseline, *(_drawn(point, depth) for point in points[: most - 1])]


def _drawn(point: Sequence[float], depth: int) -> Params:
    """Return the configuration at a point of the unit cube."""
    rate, batch, epochs, decay, frozen = point
    low, high = SPACE["learning_rate"]["low"], SPACE["learning_rate"]["high"]
    least, most = SPACE["epochs"]["low"], SPACE["epochs"]["high"]
    sizes = SPACE["batch_size"]
    return {
        "learning_rate": float(f"{low * (high / low) ** rate:.{DIGITS}g}"),
        "batch_size": sizes[min(len(sizes) - 1, int(batch * len(sizes)))],
        "epochs": min(most, least + int(epochs * (most - least + 1))),
        "weight_decay": float(f"{SPACE['weight_decay']['high'] * decay:.{DIGITS}g}"),
        "freeze_depth": min(depth, int(frozen * (depth + 1))),
    }


class Recorder:
    """Records the curves of one task.

    Args:
        task: The task.
        work: A folder for its rows and models.
    """

    def __init__(self, task: CurveTask, work: Path) -> None:
        self.task = task
        self._folder = work / task.name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._session = Silent(self._folder)
        self._cache = ModelCache()
        self._spec = StudySpec.model_validate(task.spec(self._folder) | {"semantics": NEWEST_SEMANTICS})
        study = self._cache.open(self._assignment(0, {}))
        self.depth = len(study.backbone.blocks)
        recorded = read(task.name)
        order = configurations(task.task, self.depth, len(recorded) + 1)
        self.curves = {one.number: one for one in recorded if order[one.number :] and one.params == order[one.number]}
        self._fills: dict[str, float] = dict(about(task.name).get("fill_seconds_by_depth", {}))
        """Freeze depth -> CPU seconds that fill the cache, from the depth below where that is stored."""

    def _assignment(self, number: int, params: Params) -> Assignment:
        own = {"id": 1, "token": "none", "attempt": 1, "lease_seconds": 60, "study": self._spec.name, "store": ""}
        own |= {"kind": AssignmentKind.TRAIN, "store_mark": "", "inspection": None, "seed": number, "number": number}
        return Assignment.model_validate(
            own | {"spec": self._spec, "params": complete(self.task.fixed | params, TASKS[self._spec.task].baseline)}
        )

    def record(self) -> Curve:
        """Train the next configuration, and write it."""
        number = next(number for number in count() if number not in self.curves)
        params = configurations(self.task.task, self.depth, number + 1)[number]
        self._fill(number, params)
        with open_trial(self._assignment(number, params), self._session, self._cache) as trial:
            curve = self._trained(trial, number, params)
        self.curves[number] = curve
        write(self.task.name, [self.curves[number] for number in sorted(self.curves)], self._about())
        return curve

    def _fill(self, number: int, params: Params) -> None:
        """Store the frozen prefix of a depth before the trial, and keep its cost where it was not stored yet."""
        depth = str(params["freeze_depth"])
        if depth == "0" or depth in self._fills:
            return
        began = time.process_time()
        with open_trial(self._assignment(number, params), self._session, self._cache):
            self._fills[depth] = round(time.process_time() - began, 3)

    def _trained(self, trial: Trial, number: int, params: Params) -> Curve:
        """Train a trial that is set up to its end."""
        parts = EpochParts(trial)
        curve = Curve(number, params, [], [], [], [], [], [])
        spent: list[tuple[int, float, float]] = []  # examples, seconds of training, seconds of evaluation
        finite = True
        for step in range(parts.evaluations):
            first_step, batches = parts.before(step)
            seed_everything(derive(trial.assignment.seed, f"step {step}"))
            began = time.process_time()
            with trial.unfreezing.training():
                loss, examples = train_steps(trial, batches, first_step)
            trained = time.process_time()
            statistics = self._answers(trial)
            spent.append((examples, trained - began, time.process_time() - trained))
            finite = finite and math.isfinite(loss)
            self._score(trial, curve, statistics if finite else None)
            if not finite:
                break
        cached = _cost(spent, self._evaluated)
        cold = cached if params["freeze_depth"] == 0 else self._cold(trial, parts)
        own = self.task.sizes[1]  # test rows are not on the clock
        total = {"seconds": 0.0, "cached": 0.0, "examples": 0.0}
        for examples, _, _ in spent:
            total["examples"] += examples
            for key, cost in (("seconds", cold), ("cached", cached)):
                total[key] += examples * cost.training + own * cost.evaluation
            curve.examples.append(int(total["examples"]))
            curve.seconds.append(total["seconds"])
            curve.cached_seconds.append(total["cached"])
        return curve

    @property
    def _evaluated(self) -> int:
        return sum(self.task.sizes[1:])

    def _answers(self, trial: Trial) -> Statistics:
        return trial.engine.evaluate(trial.validation, trial.study.data.targets)

    def _cold(self, trial: Trial, parts: EpochParts) -> Cost:
        """Return the costs of the trial without the cache, measured on some steps and a batch of an evaluation."""
        trial.engine.close()
        _, batches = parts.before(parts.evaluations - 1)
        size = int(trial.assignment.params["batch_size"])
        steps = max(1, COLD_EXAMPLES // size)
        began = time.process_time()
        with trial.unfreezing.training():
            _, examples = train_steps(trial, batches[:steps], 0)
        trained = time.process_time()
        trial.model.eval()
        given = evaluation_batches(trial.validation.lengths, lambda row: COLD_EXAMPLES)
        rows = given[len(given) // 2]  # of middling length
        evaluating = time.process_time()
        with torch.no_grad():
            trial.engine.outputs(trial.validation, rows)
        return _cost([(examples, trained - began, time.process_time() - evaluating)], len(rows))

    def _score(self, trial: Trial, curve: Curve, statistics: Statistics | None) -> None:
        """Add an evaluation's scores to a curve; None where there are no numbers any more."""
        if statistics is None:
            for values in (curve.validation, curve.losses, curve.test):
                values.append(None)
            return
        validation = self.task.sizes[1]
        own, test = (
            trial.study.scores(statistics.take(rows))
            for rows in (torch.arange(validation), torch.arange(validation, self._evaluated))
        )
        curve.validation.append(own["accuracy"])
        curve.losses.append(own["loss"])
        curve.test.append(test["accuracy"])

    def _about(self) -> dict[str, Any]:
        """Return what is run, for the file beside the curves."""
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
        known = {"about": self.task.about, "task": self.task.task, "depth": self.depth}
        known |= dict(zip(("training_rows", "validation_rows", "test_rows"), self.task.sizes, strict=True))
        known |= {"evaluations_per_epoch": self.task.evaluations_per_epoch, "precision": self._spec.precision}
        known |= {"commit": commit.stdout.strip(), "machine": _processor(), "threads": 1}
        known |= {"torch": torch.__version__, "transformers": transformers.__version__}
        return known | {"fill_seconds_by_depth": dict(sorted(self._fills.items(), key=lambda item: int(item[0])))}


def _cost(spent: Sequence[tuple[int, float, float]], evaluated: int) -> Cost:
    """Return the mean costs for an example of some parts and their evaluations."""
    examples = sum(part[0] for part in spent)
    evaluations = sum(part[2] for part in spent) / (len(spent) * evaluated)
    return Cost(sum(part[1] for part in spent) / max(1, examples), evaluations)


def _processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    names = info.read_text().split("\n") if info.exists() else []
    return next((line.split(":")[1].strip() for line in names if line.startswith("model name")), platform.machine())


def main() -> None:
    """Record until the time is over, or until all tasks have as many configurations as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", nargs="+", choices=CURVE_TASKS, default=list(CURVE_TASKS))
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--most", type=int, default=200, help="configurations of each task")
    parser.add_argument("--work", type=Path, default=FOLDER.parent.parent / "build" / "curves")
    options = parser.parse_args()
    end = time.monotonic() + 3600 * options.hours
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["LUTHIER_CACHE_DIR"] = str(work / "prefixes")
    torch.set_num_threads(1)
    recorders = [Recorder(CURVE_TASKS[name], work) for name in options.task]
    while recorders and time.monotonic() < end:
        recorder = min(recorders, key=lambda one: len(one.curves))
        if len(recorder.curves) >= options.most:
            break
        began = time.process_time()
        curve = recorder.record()
        print(
            f"{recorder.task.name} {curve.number}: accuracy {curve.best:.3f}, {curve.seconds[-1]:.2f} s, "
            f"cached {curve.cached_seconds[-1]:.2f} s; recording took {time.process_time() - began:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
