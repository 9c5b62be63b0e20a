"""Measure how the number of test examples decides how often a challenger is promoted, by accuracy.

    python benchmarks/promotion_sizes.py [--runs N] [--json]

Each run draws a fresh test split, on which champion and challenger are right or wrong, and decides by the same code as
the service (`studies/promotion.py`). They agree on most examples, as two models trained on the same data do; a tenth of
them only one of the two models has right. A/A: both have the same true accuracy, so every promotion is a false one.
Power: the challenger's true accuracy is higher by a gain.

The last line of --json: {"false_promotions": {...}, "power": {...}}, shares of the runs.
"""

import argparse
import json
import math

import numpy

from luthier.studies.promotion import Promote, judge
from luthier.studies.results import Comparison
from luthier.studies.strategy import Objective

SIZES = (200, 1_000, 5_000)  # examples of the test split
GAINS = (0.01, 0.02, 0.05)  # by which the challenger's true accuracy is higher
ACCURACY = 0.85  # the champion's true one
APART = 0.10  # share of examples that only one of the two has right
REPLICATES = 1_000  # of a randomization test
CONFIDENCE = 0.95


def draw_answers(draw: numpy.random.Generator, size: int, gain: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return which examples of a fresh test split champion and challenger have right: (size,) booleans each."""
    only_new = (APART + gain) / 2
    only_old = (APART - gain) / 2
    kind = draw.choice(3, size, p=[only_new, only_old, 1 - APART])
    both = draw.random(size) < (ACCURACY - only_old) / (1 - APART)
    return (kind == 1) | ((kind == 2) & both), (kind == 0) | ((kind == 2) & both)


def compare(
    draw: numpy.random.Generator, champion: numpy.ndarray, challenger: numpy.ndarray, replicate: bool
) -> Comparison:
    """Return a worker's comparison; with `replicate` the comparison for a metric that is no mean."""
    size = len(champion)
    replicates = {}
    if replicate:  # only examples that the two answer differently move the difference
        gains = challenger.astype(int) - champion.astype(int)
        counts = draw.multinomial(size, [numpy.mean(gains == value) for value in (-1, 0, 1)], REPLICATES)
        heads = draw.binomial(int(abs(gains).sum()), 0.5, REPLICATES)
        replicates["resampled"] = ((counts[:, 2] - counts[:, 0]) / size).tolist()
        replicates["exchanged"] = ((2 * heads - abs(gains).sum()) / size).tolist()
    counts_of_all = {"examples": size, "excluded": 0, "labelled_units": size, "independent": not replicate}
    sides = {"champion": champion, "challenger": challenger}
    return Comparison.model_validate(
        counts_of_all
        | {name: {"accuracy": float(side.mean())} for name, side in sides.items()}
        | {"gained": int((challenger & ~champion).sum()), "lost": int((champion & ~challenger).sum())}
        | {"predictions": {"name": "none", "sha256": "0" * 64, "bytes": 0}}
        | replicates
    )


def promoted_share(runs: int, size: int, gain: float, replicate: bool, seed: int) -> float:
    """Return the share of runs whose challenger was promoted."""
    draw = numpy.random.default_rng(seed)
    promote = Promote(confidence=CONFIDENCE)
    won = 0
    for _ in range(runs):
        champion, challenger = draw_answers(draw, size, gain)
        won += judge(compare(draw, champion, challenger, replicate), Objective(), promote, binary=True).promoted
    return won / runs


def main() -> None:
    """Print a table of shares, and with --json the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000, help="simulated runs of each kind")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    result: dict[str, dict[str, float]] = {"false_promotions": {}, "power": {}}
    error = math.sqrt((1 - CONFIDENCE) * CONFIDENCE / options.runs)
    print(f"{options.runs} runs each; confidence {CONFIDENCE}; champion's accuracy {ACCURACY}, {APART:.0%} apart")
    print(f"at most {1 - CONFIDENCE:.0%} false promotions; standard error {error:.2%}\n")
    print("test      gain      mcnemar   randomization")
    for gain in (0.0, *GAINS):
        for size in SIZES:
            shares = [promoted_share(options.runs, size, gain, replicate, seed=size) for replicate in (False, True)]
            kind = "power" if gain else "false_promotions"
            for name, share in zip(("mcnemar", "randomization"), shares, strict=True):
                result[kind][f"{name}, {size} examples" + (f", +{gain:g}" if gain else "")] = share
            print(f"{size:5}     {gain:+.2f}     {shares[0]:7.1%}   {shares[1]:7.1%}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
