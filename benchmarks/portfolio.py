"""Choose each task's known-good configurations from recorded curves, and judge them on the data set left out.

    python benchmarks/portfolio.py [--curves benchmarks/curves] [--most 5] [--write] [--json]

The curves (record_curves.py) are of the same configurations on every data set. A score's regret is how far it is from
the best that the data set has, as a share of the way from there to the median configuration: 0 is the best known, 1 no
better than the median. A portfolio's regret is that of its best configuration; the baseline is left out, as it is near
the best on one data set and far from it on another. Configurations are chosen greedily, each for the largest fall of
the mean regret over the data sets, those of other tasks counting less (submodular, so at least 63% of what the best
choice of as many would give: Nemhauser et al. 1978). Each data set judges the portfolio that was chosen without it,
beside as many random configurations.
`--write` puts the choice over all data sets into studies/portfolio.json, as the list of the newest semantics.
"""

import argparse
import csv
import gzip
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.studies.portfolio import FILE, FROZEN
from luthier.studies.semantics import NEWEST_SEMANTICS

FOLDER = Path(__file__).resolve().parent / "curves"
NUMBERS = {"learning_rate": float, "batch_size": int, "epochs": int, "weight_decay": float}
ELSEWHERE = 0.5
"""How much a data set of another task counts beside one of the same."""
DIGITS = 2
"""Of rates and decays: more would be noise."""
BASELINE = 0
"""The configuration's number, in every file of curves."""


@dataclass(frozen=True)
class DataSet:
    """What was recorded of a data set.

    Attributes:
        name: Of its file.
        task: Luthier's.
        entries: By the configuration's number, as the file of portfolios has it.
        scores: By number, the best on the validation split.
    """

    name: str
    task: str
    entries: Mapping[int, dict[str, Any]]
    scores: Mapping[int, float]

    def regret(self, numbers: Sequence[int]) -> float:
        """Return the regret of the best of some configurations."""
        best = max(self.scores.values())
        middle = statistics.median(score for number, score in self.scores.items() if number != BASELINE)
        reached = max((self.scores[number] for number in numbers), default=middle)
        return min(1.0, (best - reached) / (best - middle)) if best > middle else 0.0


def read(path: Path) -> DataSet:
    """Return a data set's file of curves."""
    about = json.loads(path.with_name(path.name.removesuffix(".csv.gz") + ".json").read_text(encoding="utf-8"))
    entries: dict[int, dict[str, Any]] = {}
    scores: dict[int, float] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["configuration"])
            entry = {name: _rounded(kind(row[name])) for name, kind in NUMBERS.items()}
            entries[number] = entry | {FROZEN: round(int(row["freeze_depth"]) / max(about["depth"], 1), DIGITS)}
            value = row["validation_accuracy"]
            scores[number] = max(scores.get(number, 0.0), float(value) if value else 0.0)
    return DataSet(path.name.removesuffix(".csv.gz"), about["task"], entries, scores)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def choose(task: str, data_sets: Sequence[DataSet], most: int) -> list[int]:
    """Return the numbers of a task's portfolio, the most useful first.

    Of those that lower the regret alike, also not at all, the one with the least regret of its own comes first.

    Args:
        task: The task.
        data_sets: Those that may be looked at.
        most: Configurations.
    """
    weights = {one.name: 1.0 if one.task == task else ELSEWHERE for one in data_sets}
    numbers = sorted(set.intersection(*(set(one.scores) for one in data_sets)) - {BASELINE})
    chosen: list[int] = []

    def rank(number: int) -> tuple[float, float]:
        together, alone = (
            sum(weights[one.name] * one.regret(numbers) for one in data_sets)
            for numbers in ([*chosen, number], [number])
        )
        return round(together, 9), alone

    while len(chosen) < most and numbers:
        chosen.append(min(numbers, key=rank))
        numbers.remove(chosen[-1])
    return chosen


def random_regret(one: DataSet, count: int) -> float:
    """Return the expected regret of so many random configurations of a data set, drawn without repetition."""
    scores = sorted((score for number, score in one.scores.items() if number != BASELINE), reverse=True)
    numbers = {score: number for number, score in one.scores.items()}
    expected, left = 0.0, 1.0
    for place, score in enumerate(scores):
        others = len(scores) - place
        hit = min(1.0, count / others)  # that this one is drawn, where none of the better ones was
        expected += left * hit * one.regret([numbers[score]])
        left *= 1 - hit
    return expected + left


def judged(data_sets: Sequence[DataSet], most: int) -> list[dict[str, Any]]:
    """Return for each data set the regret of the portfolio that was chosen without it, and of random ones."""
    rows = []
    for one in data_sets:
        others = [other for other in data_sets if other.name != one.name]
        chosen = [number for number in choose(one.task, others, most) if number in one.scores] if others else []
        rows.append(
            {
                "left_out": one.name,
                "task": one.task,
                "configurations": len(one.scores),
                "chosen": chosen,
                "regret": [round(one.regret(chosen[:count]), 3) for count in range(1, len(chosen) + 1)],
                "random": [round(random_regret(one, count), 3) for count in range(1, len(chosen) + 1)],
            }
        )
    return rows


def write(data_sets: Sequence[DataSet], rows: Sequence[dict[str, Any]], most: int) -> None:
    """Put the portfolios of all recorded tasks into the file that the product reads, whole or not at all."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    for task in dict.fromkeys(one.task for one in data_sets):
        own = [one for one in data_sets if one.task == task]
        chosen = choose(task, data_sets, most)
        regrets = ", ".join(f"{r['left_out']} {r['regret'][-1]}" for r in rows if r["task"] == task and r["regret"])
        origin = (
            f"benchmarks/portfolio.py, from {len(own[0].scores)} configurations on {', '.join(d.name for d in own)} "
            f"and, counting {ELSEWHERE:g}, on the data sets of other tasks. Regret on a data set left out: {regrets}."
        )
        entries = [own[0].entries[number] for number in chosen]
        new = {"semantics": NEWEST_SEMANTICS, "origin": origin, "configurations": entries}
        lists = [one for one in document["tasks"].get(task, []) if one["semantics"] != NEWEST_SEMANTICS]
        document["tasks"][task] = [*lists, new]
    partial = FILE.with_name(FILE.name + ".part")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(FILE)


def main() -> None:
    """Choose, judge, and print a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=FOLDER, help="the folder of the files of curves")
    parser.add_argument("--most", type=int, default=5, help="configurations of a portfolio")
    parser.add_argument("--write", action="store_true", help="put them into studies/portfolio.json")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    data_sets = [read(path) for path in sorted(arguments.curves.glob("*.csv.gz"))]
    if not data_sets:
        raise SystemExit(f"{arguments.curves} has no curves: run benchmarks/record_curves.py first.")
    rows = judged(data_sets, arguments.most)
    if arguments.write:
        write(data_sets, rows, arguments.most)
    if not arguments.json:
        for row in rows:
            regrets = "  ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(row["regret"], row["random"], strict=True))
            print(f"{row['left_out']:18} {row['configurations']:4} configurations  regret (random): {regrets}")
    ended = [row for row in rows if row["regret"]]
    mean = {key: sum(row[key][-1] for row in ended) / max(len(ended), 1) for key in ("regret", "random")}
    print(json.dumps({"left_out": rows, "regret_mean": mean["regret"], "random_mean": mean["random"]}))


if __name__ == "__main__":
    main()
