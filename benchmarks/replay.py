"""Replay searches over the recorded curves: Luthier's own search and dispatch beside Optuna alone.

    python benchmarks/replay.py [--seeds 30] [--workers 1 4 16] [--task trec ...] [--variant default ...] [--cached]
                                [--share 0.5] [--processes 1] [--out build/replay] [--json]

Nothing is trained: benchmarks/curves/ says what a configuration scores after how many seconds (record_curves.py). Both
sides draw from the same table by the same rule (replay_table.py), with the same workers (replay_clock.py), and pay the
recorded seconds without the frozen-prefix cache; --cached lets Luthier alone pay those with it. Luthier is the
service's core in this process: claims, reports and outcomes over SQLite under a moved clock, without HTTP
(replay_luthier.py). Optuna's side is replay_optuna.py.

A cell is a task and a number of workers. Its ratio is the GPU seconds (workers times time) that the best of Optuna's
methods needs to come within half a point of the best known validation score, over those of Luthier: geometric means
over the seeds; a run that does not get there counts with its end, `--share` of the seconds of the whole table.

The last line: {"gpu_seconds_ratio_median":, "worst":} over the cells, for the variant `default`.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from curve_files import FOLDER
from curve_tasks import CURVE_TASKS
from pydantic import ValidationError
from replay_clock import drive
from replay_figures import write_figures
from replay_luthier import House, LuthierSide, spec_of
from replay_optuna import METHODS, OptunaSide
from replay_portfolio import leave_out
from replay_summary import show
from replay_table import Case, Table, Trace

NEITHER: dict[str, Any] = {"portfolio": False, "cost_aware": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "neither": {"sampler": NEITHER},
    "median": {"sampler": NEITHER, "pruner": {"name": "median"}},
    "hyperband": {"sampler": NEITHER, "pruner": {"name": "hyperband"}},
    "asha": {"sampler": NEITHER, "pruner": {"name": "asha"}},
    "pasha": {"sampler": NEITHER, "pruner": {"name": "asha", "growth": "pasha"}},
    "cost_aware": {"sampler": NEITHER | {"cost_aware": True}},
    "portfolio": {"sampler": NEITHER | {"portfolio": True}},
}
"""Of Luthier's: what stands in the spec in place of the defaults. One that this version refuses is left out."""
DEFAULT = "default"
_house: list[House] = []  # this process's


@dataclass(frozen=True)
class Run:
    """One search to be replayed.

    Attributes:
        task: The recorded task.
        side: `optuna` or `luthier`.
        method: Optuna's, or a variant of Luthier's.
        seed: Of the search.
        workers: Trials at the same time.
        cached: Luthier pays seconds with the frozen-prefix cache.
        share: Of the seconds of the whole table, after which it ends.
    """

    task: str
    side: str
    method: str
    seed: int
    workers: int
    cached: bool
    share: float

    def case(self) -> Case:
        """Return what is searched."""
        whole = Table.of(self.task)
        table = Table.of(self.task, self.cached and self.side == "luthier")
        return Case(table, self.seed, self.workers, self.share * whole.total_seconds)


def replay(run: Run) -> Trace:
    """Replay one search."""
    case = run.case()
    if run.side == "optuna":
        return drive(OptunaSide(case, run.method), case)
    if not _house:
        _house.append(House())
    leave_out(run.task)
    side = LuthierSide(_house[0], case, CURVE_TASKS[run.task], VARIANTS[run.method])
    try:
        return drive(side, case)
    finally:
        _house[0].end(side.name)


def close() -> None:
    """Remove this process's house."""
    while _house:
        _house.pop().close()


def known_variants(names: Iterable[str]) -> list[str]:
    """Return the variants whose spec this version takes; print why another is left out."""
    task = next(iter(CURVE_TASKS.values()))
    known = []
    for name in names:
        try:
            spec_of(task, VARIANTS[name], Case(Table(task.name, (), 1), 0, 1, 1.0), "tried")
            known.append(name)
        except ValidationError as error:
            why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            print(f"{name} is left out, as this version refuses it: {why}")
    return known


def replay_all(runs: list[Run], processes: int) -> list[Trace]:
    """Replay searches, in processes of their own where several are wanted; print how far it is."""
    traces: list[Trace] = []
    with ExitStack() as stack:
        stack.callback(close)
        found = map(replay, runs)
        if processes > 1:
            context = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(processes, context, initializer=close_at_end))
            found = pool.map(replay, runs, chunksize=4)
        for trace in found:
            traces.append(trace)
            if len(traces) % 50 == 0 or len(traces) == len(runs):
                print(f"{len(traces)} of {len(runs)} searches", file=sys.stderr, flush=True)
    return traces


def close_at_end() -> None:
    """Remove this process's house when it ends; a pool's process calls nothing of `atexit`."""
    Finalize(None, close, exitpriority=100)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--task", nargs="+", choices=CURVE_TASKS, default=list(CURVE_TASKS))
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--cached", action="store_true", help="Luthier pays what it pays with the cache")
    parser.add_argument("--share", type=float, default=0.5, help="of the table's seconds, after which a search ends")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER.parent.parent / "build" / "replay")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON, which it always is")
    return parser.parse_args()


def main() -> None:
    """Replay every search, print the tables, write the figures and the traces."""
    options = parse()
    variants = known_variants(options.variant)
    methods = [("optuna", name) for name in METHODS] + [("luthier", name) for name in variants]
    runs = [
        Run(task, side, method, seed, workers, options.cached, options.share)
        for task in options.task
        for workers in options.workers
        for side, method in methods
        for seed in range(options.seeds)
    ]
    traces = replay_all(runs, options.processes)
    found: dict[tuple[str, int, str], list[Trace]] = {}
    for run, trace in zip(runs, traces, strict=True):
        found.setdefault((run.task, run.workers, run.method), []).append(trace)
    ends = {task: options.share * Table.of(task).total_seconds for task in options.task}
    options.out.mkdir(parents=True, exist_ok=True)
    ratios = show(found, ends, METHODS, variants)
    (options.out / "replay.json").write_text(
        json.dumps([vars(run) | trace.as_json() for run, trace in zip(runs, traces, strict=True)])
    )
    for path in write_figures(found, ends, options.out):
        print(f"figure: {path}")
    own = ratios.get(DEFAULT) or next(iter(ratios.values()))
    print(json.dumps({"gpu_seconds_ratio_median": round(statistics.median(own), 3), "worst": round(min(own), 3)}))


if __name__ == "__main__":
    main()
