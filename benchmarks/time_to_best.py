"""Compare how soon two searches have the best model: the Trainer's hyperparameter search and Luthier, in turns.

    python benchmarks/time_to_best.py [--quick] [--json] [--task trec ...] [--seeds 3] [--seconds 180] [--workers 2]
                                      [--precision float32|bfloat16] [--trainer-bf16] [--out FILE]

MiniLM on TREC and Rotten Tomatoes, MobileNetV2 on CIFAR-10 (64 pixels). Both sides search the same space
(curve_tasks.SPACE) on the same rows with the same wall-clock budget, each in a fresh process; the side that goes first
alternates. The Trainer's side is its own Optuna search with TPE and the median pruner, at the settings of
tasks_vs_trainer.py; Luthier's is a service with its workers and the defaults of a spec, winner and test score included.

The ratio of a pair is the time after which the Trainer's search first had the best score that it would have, over the
time after which Luthier first had that score; half a point less counts as reached, on both sides, and where Luthier did
not reach it the whole budget counts. Times are from each search's first trial; beside them stands the same from the
start of each command. `time_ratio_median` is the geometric mean over the pairs.

The last line of --json: {"time_ratio_median":, "score_difference":, "test_difference":}; differences are Luthier's less
the Trainer's.
"""

import argparse
import csv
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curve_tasks import CURVE_TASKS, CurveTask

TASKS = ("trec", "rotten_tomatoes", "cifar10")
HALF_POINT = 0.005
ROUNDING = 1e-9
SIZES = {True: (300, 200, 300), False: (600, 300, 500)}
"""Rows to train on, to validate on, and to test on, by --quick."""
IMAGES = {True: (300, 200, 300), False: (500, 300, 400)}
"""The same of CIFAR-10, of which there are 1,200."""
SECONDS = {True: 60.0, False: 180.0}
"""Of a search, by --quick."""


@dataclass(frozen=True)
class Searched:
    """What one side's search found.

    Attributes:
        command: When its process was started, in seconds since the epoch.
        first_trial: When its first trial began.
        points: (time, validation accuracy) of each evaluation, in the order of time, of the budget alone.
        test: The winner's test accuracy.
        trials: That were begun.
    """

    command: float
    first_trial: float
    points: list[tuple[float, float]]
    test: float
    trials: int

    @property
    def best(self) -> float:
        """The best validation accuracy."""
        return max(value for _, value in self.points)

    def reached(self, target: float) -> float | None:
        """Return when it first had a score, in seconds since the epoch; None where it never did."""
        return next((at for at, value in self.points if value >= target), None)


@dataclass(frozen=True)
class Pair:
    """Both sides' searches of one task and seed.

    Attributes:
        task: The task's name.
        seed: Of both searches, and of the rows.
        trainer: The Trainer's.
        luthier: Luthier's.
        budget: Seconds that each had.
    """

    task: str
    seed: int
    trainer: Searched
    luthier: Searched
    budget: float

    def times(self, since: str) -> tuple[float, float, bool]:
        """Return the seconds of both sides to the Trainer's best score, and whether Luthier reached it.

        Args:
            since: `first_trial` or `command`.
        """
        target = self.trainer.best - HALF_POINT - ROUNDING
        theirs, ours = self.trainer.reached(target), self.luthier.reached(target)
        assert theirs is not None
        begin = getattr(self.luthier, since)
        end = self.luthier.first_trial + self.budget if ours is None else ours
        return theirs - getattr(self.trainer, since), end - begin, ours is not None

    def ratio(self, since: str) -> float:
        """Return the Trainer's seconds over Luthier's."""
        theirs, ours, _ = self.times(since)
        return theirs / ours


def write_rows(task: CurveTask, sizes: tuple[int, int, int], seed: int, folder: Path) -> None:
    """Write a seeded sample of a task's rows as train.csv, validation.csv and test.csv; training knows every label."""
    rows = task.rows()
    random.Random(seed).shuffle(rows)  # noqa: S311 - reproducible, not secret
    first = {label: row for row in reversed(rows) for label in [row[1]]}
    rows.sort(key=lambda row: first[row[1]] != row)
    start = 0
    for name, size in zip(("train", "validation", "test"), sizes, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([(task.column, "label"), *rows[start : start + size]])
        start += size


def run(side: str, task: CurveTask, model: Path, work: Path, seed: int, options: argparse.Namespace) -> Searched:
    """Run one side's search in a process of its own. Exits when it fails."""
    out = work / f"{side}.json"
    command = [sys.executable, str(Path(__file__).with_name(f"time_to_best_{side}.py")), "--task", task.name]
    command += ["--model", str(model), "--work", str(work), "--out", str(out), "--seed", str(seed)]
    command += ["--seconds", str(options.seconds), "--workers", str(options.workers)]
    command += ["--threads", str(options.threads)]
    command += ["--precision", options.precision] if options.precision else []
    command += ["--bf16"] if options.trainer_bf16 else []
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"OMP_NUM_THREADS": str(options.threads)}  # Luthier's workers share them
    environment |= {"LUTHIER_CACHE_MEMORY": "0", "LUTHIER_CACHE_DIR": str(work / "prefixes")}  # nothing from earlier
    started = time.time()
    code = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode  # noqa: S603
    if code:
        sys.exit(f"The {side}'s side failed with code {code}; it says why above.")
    found = json.loads(out.read_text())
    begun = float(found["first_trial"])
    points = sorted((at, value) for at, value in found["points"] if at <= begun + options.seconds)
    if not points:
        sys.exit(f"The {side}'s side had no score within {options.seconds:g} s: give it more with --seconds.")
    return Searched(started, begun, points, float(found["test"]), int(found["trials"]))


def compare(options: argparse.Namespace) -> list[Pair]:
    """Run both sides in turns on every task and seed."""
    pairs: list[Pair] = []
    for seed in range(options.seeds):
        for name in options.task:
            task = CURVE_TASKS[name]
            sizes = (IMAGES if task.column == "image" else SIZES)[options.quick]
            with tempfile.TemporaryDirectory(prefix="time-to-best-") as folder:
                work = Path(folder)
                model = task.model(work)
                write_rows(task, sizes, seed, work)
                sides = ("trainer", "luthier") if len(pairs) % 2 == 0 else ("luthier", "trainer")
                found = {side: run(side, task, model, work, seed, options) for side in sides}
            pairs.append(Pair(name, seed, found["trainer"], found["luthier"], options.seconds))
            show(pairs[-1])
    return pairs


def show(pair: Pair) -> None:
    """Print what a pair of searches found."""
    print(f"\n{pair.task}, seed {pair.seed}, {pair.budget:g} s each")
    print("            trials  best    test  | seconds to the Trainer's best: from the first trial, from the command")
    at = {since: pair.times(since) for since in ("first_trial", "command")}
    for i, (name, side) in enumerate((("the Trainer", pair.trainer), ("Luthier", pair.luthier))):
        reached = i == 0 or at["command"][2]
        print(
            f"{name:12} {side.trials:5} {side.best:6.3f} {side.test:6.3f}  | {at['first_trial'][i]:8.1f} "
            f"{at['command'][i]:8.1f}" + ("" if reached else "   not reached")
        )
    print(f"ratio        {pair.ratio('first_trial'):.2f}, from the command {pair.ratio('command'):.2f}", flush=True)


def geometric(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.mean(map(math.log, values)))


def told(values: list[float]) -> str:
    """Return a mean with its standard error, which one value alone does not have."""
    mean = f"{statistics.mean(values):+.4f}"
    return f"{mean} (standard error {statistics.stdev(values) / len(values) ** 0.5:.4f})" if len(values) > 1 else mean


def summary(pairs: list[Pair]) -> dict[str, float]:
    """Print the ratios and differences over all pairs, and return the result."""
    ratios = [pair.ratio("first_trial") for pair in pairs]
    scores = [pair.luthier.best - pair.trainer.best for pair in pairs]
    tests = [pair.luthier.test - pair.trainer.test for pair in pairs]
    reached = sum(pair.times("first_trial")[2] for pair in pairs)
    print(f"\nLuthier reached the Trainer's best in {reached} of {len(pairs)} pairs")
    print(
        f"time ratio: geometric mean {geometric(ratios):.2f}, median {statistics.median(ratios):.2f}, worst "
        f"{min(ratios):.2f}; from the start of the commands {geometric([p.ratio('command') for p in pairs]):.2f}"
    )
    print(f"best validation score, Luthier's less the Trainer's: {told(scores)}")
    print(f"test score of the winner, likewise: {told(tests)}")
    return {
        "time_ratio_median": round(geometric(ratios), 4),
        "score_difference": round(statistics.mean(scores), 4),
        "test_difference": round(statistics.mean(tests), 4),
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, one seed, a minute each: ten minutes")
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--seconds", type=float, help="of each search; default: 180, with --quick 60")
    parser.add_argument("--workers", type=int, default=2, help="Luthier's")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each side")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="Luthier's; default: its own")
    parser.add_argument("--trainer-bf16", action="store_true", help="the Trainer uses bf16 autocast")
    parser.add_argument("--out", type=Path, help="write all that was measured there, as JSON")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.seconds = options.seconds or SECONDS[options.quick]
    return options


def main() -> None:
    """Compare both sides, and print how soon each had the best score."""
    options = parse()
    pairs = compare(options)
    result = summary(pairs)
    if options.out:
        sides: list[dict[str, Any]] = [
            vars(p) | {"trainer": vars(p.trainer), "luthier": vars(p.luthier)} for p in pairs
        ]
        options.out.write_text(json.dumps(sides))
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
