"""Measure how often a schedule promotes an equal challenger (A/A) and a better challenger (power).

    python benchmarks/promotion.py [--runs N] [--examples N] [--only METRIC ...] [--json]

Each run draws a fresh test split from a population on which it is known how good champion and challenger are
(rivals.py), scores both and draws replicates by a worker's own code (`trials/jobs/compare.py`), and decides by the
service's (`studies/promotion.py`). A/A: both are equally good, so every promotion is a false one; once the challenger
is of the champion's kind, and once of another. Power: the challenger is better.

To be fast, a randomization test has 99 replicates in place of 1,000, and ends as soon as enough of them are as good as
the measured difference to keep the champion. A test of equal models promotes as often with 99 as with 1,000; of better
ones somewhat more seldom. `--whole` does all that a worker does.

The last line of --json: {"METRIC": {"alike": [share, low, high], "other": ..., "better": ..., "both": ...}}, shares of
the runs with Wilson's interval of 95%.
"""

import argparse
import json
import math
from typing import Any, cast
from zlib import crc32

import torch
from rivals import NOTHING, RIVALRIES, Rivalry

from luthier.studies.paired_tests import ROUNDING, randomization
from luthier.studies.promotion import Promote, judge
from luthier.studies.protocol import Assignment
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.wire import FileRef
from luthier.trials.jobs.compare import paired
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.session import Session
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics

CONFIDENCE = 0.95
FEW = 99  # replicates
GAIN = 0.25  # the share by which a better challenger's errors are smaller
CHALLENGERS = ("alike", "other", "better", "both")
Share = tuple[float, float, float]  # with its interval
NO_FILE = FileRef(name="none", sha256="0" * 64, bytes=0)


class Busy:
    """A session that nobody ends."""

    def poll(self) -> None:
        """Return."""


def assignment(rivalry: Rivalry, semantics: int) -> Assignment:
    """Return the comparison's assignment."""
    spec: dict[str, Any] = {
        "name": "rivals",
        "task": rivalry.task,
        "model": "none",
        "dataset": {"source": "none"},
        "objective": {"metric": rivalry.metric},
        "space": {"learning_rate": 1e-4},
        "semantics": semantics,
    }
    work = {"id": 1, "kind": "compare", "token": "t", "attempt": 1, "lease_seconds": 60, "study": "rivals"}
    return Assignment.model_validate({**work, "spec": spec, "store": "none", "store_mark": ""})


def promoted(
    rivalry: Rivalry, work: Assignment, rivals: tuple[Statistics, Statistics], examples: int, whole: bool
) -> bool:
    """Return whether a fresh test split, drawn by the assignment's seed, gets the challenger promoted."""
    draw = torch.Generator().manual_seed(work.seed + 1_000_000)
    groups = examples // rivalry.related
    first = torch.randint(len(rivals[0]) // rivalry.related, (groups,), generator=draw) * rivalry.related
    rows = (first[:, None] + torch.arange(rivalry.related)).flatten()
    related = [str(i // rivalry.related) for i in range(len(rows))] if rivalry.related > 1 else None
    models = [Predictions(task_code(rivalry.task), rivalry.targets, NOTHING, side.take(rows)) for side in rivals]
    session, objective = cast(Session, Busy()), work.spec.objective
    binary = work.spec.task_info.is_binary(objective.metric)
    if whole or (binary and related is None):
        comparison = paired(work, session, models, related, excluded=0, predictions=NO_FILE)
        return judge(comparison, objective, Promote(confidence=CONFIDENCE), binary).promoted
    return _beats(Replicates(work, session, *models, related), rivalry.metric)


def _beats(replicates: Replicates, metric: str) -> bool:
    """Return whether the randomization test promotes the challenger, with no more replicates than that takes."""
    champion, challenger = (
        side.score(metric, side.statistics) for side in (replicates.champion, replicates.challenger)
    )
    if champion is None or challenger is None:
        return False
    difference = (challenger - champion) * (1 if replicates.assignment.spec.maximize else -1)
    if difference <= ROUNDING:
        return False
    draw = torch.Generator().manual_seed(replicates.assignment.seed)
    exchanged: list[float] = []
    as_good = 0
    while len(exchanged) < FEW:
        drawn = replicates.exchange(draw)
        exchanged += drawn
        as_good += sum(value >= difference - ROUNDING for value in drawn)
        if (as_good + 1) / (FEW + 1) > 1 - CONFIDENCE + ROUNDING:
            return False
    return randomization(difference, exchanged, exchanged, CONFIDENCE).p_value <= 1 - CONFIDENCE + ROUNDING


def wilson(won: int, runs: int) -> Share:
    """Return a share and Wilson's interval of 95% for it."""
    z, share = 1.959964, won / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return share, middle - half, middle + half


def measured(name: str, options: argparse.Namespace) -> tuple[dict[str, Share], dict[str, float]]:
    """Return by challenger the share of runs that promote it, and the challenger's score on the population."""
    rivalry = RIVALRIES[name]
    work = assignment(rivalry, options.semantics)
    shares, scores = {}, {}
    for challenger in CHALLENGERS:
        rivals = rivalry.rivals(challenger, GAIN)
        runs = options.runs // 5 if challenger in ("better", "both") else options.runs
        seeds = [crc32(f"{name} {run}".encode()) for run in range(runs)]
        works = (work.model_copy(update={"seed": seed}) for seed in seeds)
        won = sum(promoted(rivalry, one, rivals, options.examples, options.whole) for one in works)
        shares[challenger], scores[challenger] = wilson(won, runs), rivalry.score(rivals[1])
    return shares, scores


def main() -> None:
    """Print a row for each metric, and with --json the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000, help="simulated runs of each kind; a fifth for power")
    parser.add_argument("--examples", type=int, default=100, help="of a test split")
    parser.add_argument("--whole", action="store_true", help="1,000 replicates and an interval each time; slow")
    parser.add_argument("--only", nargs="+", default=list(RIVALRIES), choices=RIVALRIES, metavar="METRIC")
    parser.add_argument("--semantics", type=int, default=NEWEST_SEMANTICS, help="of the study's spec")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, dict[str, Share]] = {}
    print(
        f"{options.runs} runs each (power: {options.runs // 5}), {options.examples} test examples, {CONFIDENCE:.0%}\n"
    )
    print("| metric | kind | equal, alike | equal, other kind | better | by | better, other kind |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        shares, scores = measured(name, options)
        cells = [f"{share:.1%} ({low:.1%} to {high:.1%})" for share, low, high in shares.values()]
        cells.insert(3, f"{scores['alike']:.3g} to {scores['better']:.3g}")
        print("|", " | ".join([name, RIVALRIES[name].kind, *cells]), "|", flush=True)
        result[name] = shares
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
