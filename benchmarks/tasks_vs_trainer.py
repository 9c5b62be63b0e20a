"""Compare Luthier with transformers' Trainer on every task: the same trials, in turns, in one process.

    python benchmarks/tasks_vs_trainer.py [TASK ...] [--quick] [--rounds N] [--scale N] [--threads N] [--json]

A case is a task on small data with a small model (cases/). Its trials have one configuration at three freeze depths:
none, half of the blocks, and all but the head. In each round both sides run each depth once, one after the other: the
Trainer in this process, as transformers' own example for the task does it, and a worker of an embedded service.
Ratios are the Trainer's seconds over Luthier's. The first round is apart: Luthier reads its data and fills its caches
in it, where the Trainer's features are made before. Scores differ by seeds alone, so means and errors are shown.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
if "--threads" not in sys.argv:  # before torch is imported, and for Luthier's worker too
    os.environ["OMP_NUM_THREADS"] = "1"

from cases import CASES
from cases.case import Case
from task_sides import Luthier, Turn, by_trainer, depths, quiet, serving, spec, splits_of

from luthier.service.client import Client

PLACES = ("none", "half", "all")
Sides = dict[str, list[Turn]]
"""`trainer` and `luthier` -> a turn for each round."""


def compare(case: Case, client: Client, work: Path, options: argparse.Namespace) -> list[Sides]:
    """Run a case's trials on both sides in turns, and return those of each depth."""
    training, validation = case.splits(options.scale)
    model = case.model(work / "model")
    official = case.official(model, training, validation)
    steps = depths(official)
    planned = [(depth, 1_000 + 10 * round_ + i) for round_ in range(options.rounds) for i, depth in enumerate(steps)]
    document = spec(case, model, splits_of(training, validation, work), steps, len(planned))
    found: list[Sides] = [{"trainer": [], "luthier": []} for _ in steps]
    luthier = Luthier.begin(client, case, document, planned)
    by_trainer(case, official, steps[-1], 0, work)  # so that no trial pays for work that is done once
    for number, (depth, seed) in enumerate(planned):
        sides = found[number % len(steps)]
        sides["trainer"].append(by_trainer(case, official, depth, seed, work))
        sides["luthier"].append(luthier.turn(number))
    if options.logs:
        print(*luthier.told, sep="\n", file=sys.stderr)
    luthier.end()
    return found


def ratio(sides: Sides, of: str, rounds: slice) -> float:
    """Return the Trainer's median over Luthier's, of wall or CPU seconds in some rounds."""
    medians = [statistics.median(getattr(turn, of) for turn in sides[side][rounds]) for side in ("trainer", "luthier")]
    return medians[0] / medians[1]


def differences(found: list[Sides]) -> list[float]:
    """Return Luthier's score minus the Trainer's, of each depth and round."""
    return [
        ours.score - theirs.score
        for sides in found
        for theirs, ours in zip(sides["trainer"], sides["luthier"], strict=True)
    ]


def summary(found: list[Sides]) -> dict[str, Any]:
    """Return the ratios by depth and the difference of the scores with its standard error."""
    later = slice(1, None)
    values = differences(found)
    return {
        "cpu": [ratio(sides, "cpu", later) for sides in found],
        "wall": [ratio(sides, "wall", later) for sides in found],
        "first_cpu": [ratio(sides, "cpu", slice(0, 1)) for sides in found],
        "trainer_seconds": [statistics.median(turn.cpu for turn in sides["trainer"][later]) for sides in found],
        "luthier_seconds": [statistics.median(turn.cpu for turn in sides["luthier"][later]) for sides in found],
        "scores": [statistics.mean(turn.score for s in found for turn in s[side]) for side in ("trainer", "luthier")],
        "score_difference": statistics.mean(values),
        "standard_error": statistics.stdev(values) / len(values) ** 0.5,
    }


def show(name: str, case: Case, one: dict[str, Any]) -> None:
    """Print a case's line."""

    def numbers(key: str, form: str = "6.2f") -> str:
        return " ".join(f"{value:{form}}" for value in one[key])

    print(
        f"{name:21} {numbers('cpu')} | {numbers('wall')} | {numbers('first_cpu')} | "
        f"{numbers('trainer_seconds', '5.2f')} | {numbers('luthier_seconds', '5.2f')} | {case.metric:10} "
        f"{one['scores'][0]:7.3f} {one['scores'][1]:7.3f} {one['score_difference']:+7.3f} ({one['standard_error']:.3f})"
    )
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"one of {', '.join(CASES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="two rounds: minutes for all tasks on 2 cores")
    parser.add_argument("--rounds", type=int, help="at least two; default: 4, with --quick 2")
    parser.add_argument("--scale", type=int, default=1, help="so many times the rows")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each side")
    parser.add_argument("--logs", action="store_true", help="print the logs of Luthier's trials too")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 4)
    unknown = set(options.tasks) - set(CASES)
    if unknown or options.rounds < 2:
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else "--rounds must be at least 2")
    return options


def main() -> None:
    """Compare both sides on each task, and print a line for each."""
    options = parse()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # Luthier's worker
    os.environ["LUTHIER_CACHE_MEMORY"] = "0"
    quiet(options.threads)
    heads = ("CPU ratio", "wall ratio", "CPU ratio, round 1", "Trainer's CPU s", "Luthier's CPU s")
    print(f"{'freeze depth: none, half, all':>29}\n{'':21} " + " | ".join(f"{h:20}" for h in heads))
    results = {}
    with tempfile.TemporaryDirectory(prefix="tasks-vs-trainer-") as folder:
        work = Path(folder)
        os.environ["LUTHIER_CACHE_DIR"] = str(work / "prefixes")  # nothing from earlier
        with serving(work / "home") as client:
            for name in options.tasks or CASES:
                results[name] = summary(compare(CASES[name], client, work / name, options))
                show(name, CASES[name], results[name])
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
