"""The figure of a replay: simple regret over GPU seconds, with 95 % intervals over the seeds, as html and png."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from replay_clock import grid
from replay_summary import Found
from replay_table import Table, Trace

COLORS = ("#999999", "#bb7744", "#7755aa", "#1166bb", "#118844", "#cc3344", "#0099aa", "#aa8800", "#222222", "#dd55aa")
Bands = tuple[list[float], list[float], list[float], list[float]]
NORMAL = 1.96


def bands(traces: Sequence[Trace], best: float, end: float) -> Bands:
    """Return times, the mean regret in points at each, and the ends of its 95 % interval over the seeds."""
    times = list(grid(end))
    means, lows, highs = [], [], []
    for at in times:
        regrets = [100 * (best - trace.at(at)) for trace in traces]
        mean = statistics.mean(regrets)
        half = NORMAL * statistics.stdev(regrets) / len(regrets) ** 0.5 if len(regrets) > 1 else 0.0
        means.append(mean)
        lows.append(max(mean - half, 0.0))
        highs.append(mean + half)
    return times, means, lows, highs


def write_figures(found: Found, ends: dict[str, float], folder: Path) -> list[Path]:
    """Write the figure of all cells, a row a task and a column a number of workers; return the files."""
    tasks = list(dict.fromkeys(task for task, _, _ in found))
    counts = list(dict.fromkeys(workers for _, workers, _ in found))
    methods = list(dict.fromkeys(method for _, _, method in found))
    cells = {key: bands(traces, Table.of(key[0]).best, ends[key[0]]) for key, traces in found.items()}
    html, png = folder / "replay.html", folder / "replay.png"
    _write_html(cells, tasks, counts, methods, html)
    _write_png(cells, tasks, counts, methods, png)
    return [html, png]


def _write_html(
    cells: dict[tuple[str, int, str], Bands], tasks: list[str], counts: list[int], methods: list[str], path: Path
) -> None:
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    titles = [f"{task}, {workers} worker{'s'[: workers > 1]}" for task in tasks for workers in counts]
    figure = make_subplots(len(tasks), len(counts), subplot_titles=titles)
    for (task, workers, method), (times, means, lows, highs) in cells.items():
        row, column = tasks.index(task) + 1, counts.index(workers) + 1
        color, is_first = COLORS[methods.index(method) % len(COLORS)], row == column == 1
        both = {
            "x": times + times[::-1],
            "y": highs + lows[::-1],
            "fill": "toself",
            "fillcolor": color,
            "opacity": 0.15,
        }
        quiet = {"showlegend": False, "legendgroup": method, "hoverinfo": "skip"}
        figure.add_trace(graph_objects.Scatter(**both, **quiet, line={"width": 0}), row, column)
        line = graph_objects.Scatter(
            x=times, y=means, name=method, legendgroup=method, showlegend=is_first, line={"color": color}
        )
        figure.add_trace(line, row, column)
    figure.update_yaxes(type="log", title="points below the best known")
    figure.update_xaxes(title="GPU seconds")
    figure.update_layout(height=380 * len(tasks), title="Simple regret, mean over the seeds")
    figure.write_html(path)


def _write_png(
    cells: dict[tuple[str, int, str], Bands], tasks: list[str], counts: list[int], methods: list[str], path: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(tasks), len(counts), figsize=(5 * len(counts), 3.6 * len(tasks)), squeeze=False, layout="constrained"
    )
    for (task, workers, method), (times, means, lows, highs) in cells.items():
        place = axes[tasks.index(task)][counts.index(workers)]
        color = COLORS[methods.index(method) % len(COLORS)]
        place.plot(times, means, color=color, label=method, linewidth=1.4)
        place.fill_between(times, lows, highs, color=color, alpha=0.15, linewidth=0)
        place.set_title(f"{task}, {workers} worker{'s'[: workers > 1]}", fontsize=10)
        place.set_yscale("log")
        place.set_xlabel("GPU seconds")
        place.set_ylabel("points below the best known")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
