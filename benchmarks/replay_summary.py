"""The numbers of a replay: GPU seconds to half a point of the best known, with intervals, cell by cell."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence

from replay_table import Table, Trace

RESAMPLES = 2000
Found = Mapping[tuple[str, int, str], Sequence[Trace]]
"""(task, workers, method) -> a trace for each seed."""


def geometric(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.mean(math.log(value) for value in values))


def interval(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of two geometric means over the same seeds, by resampling the seeds."""
    drawn = random.Random(0)  # noqa: S311 - reproducible, not secret
    logs = [math.log(a / b) for a, b in zip(theirs, ours, strict=True)]
    means = sorted(statistics.mean(drawn.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    return math.exp(means[int(0.025 * RESAMPLES)]), math.exp(means[int(0.975 * RESAMPLES)])


def show(
    found: Found, ends: Mapping[str, float], methods: Sequence[str], variants: Sequence[str]
) -> dict[str, list[float]]:
    """Print a table for each cell, and return the ratio of every cell by variant of Luthier's.

    Args:
        found: The traces.
        ends: Task -> the GPU seconds of a search.
        methods: Optuna's.
        variants: Luthier's.
    """
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for task, workers in dict.fromkeys((task, workers) for task, workers, _ in found):
        table, end = Table.of(task), ends[task]
        print(
            f"\n{task}, {workers} worker{'s'[: workers > 1]}, {len(table.curves)} configurations, best known "
            f"{100 * table.best:.1f} %, searches of {end:.0f} GPU seconds"
        )
        print("method          GPU s to 0.5 points  reached  trials  end: regret  test     ratio (95 %)")
        cell = {name: found[task, workers, name] for name in (*methods, *variants)}
        times = {name: [trace.reached(table.target, end) for trace in traces] for name, traces in cell.items()}
        best = min(methods, key=lambda name: geometric(times[name]))
        for name, traces in cell.items():
            line = _line(name, traces, times[name], table)
            if name in variants:
                ratios[name].append(geometric(times[best]) / geometric(times[name]))
                low, high = interval(times[best], times[name])
                line += f"   {ratios[name][-1]:7.2f} ({low:.2f} to {high:.2f})"
            print(line + ("   the best of Optuna's" if name == best else ""))
    print("\nvariant: ratio over the cells, median and worst")
    for name, own in ratios.items():
        print(f"{name:15} {statistics.median(own):6.2f} {min(own):6.2f}")
    return ratios


def _line(name: str, traces: Sequence[Trace], times: Sequence[float], table: Table) -> str:
    """Return a method's line in the table of a cell, without its ratio."""
    reached = sum(trace.reached(table.target, -1.0) >= 0 for trace in traces) / len(traces)
    trials = statistics.mean(trace.trials for trace in traces)
    regret = statistics.mean(100 * (table.best - trace.value) for trace in traces)
    test = statistics.mean(100 * trace.test for trace in traces)
    return f"{name:15} {geometric(times):19.1f} {100 * reached:6.0f} % {trials:7.1f} {regret:12.2f} {test:5.1f}"
