"""A task's recorded curves as a table: configurations that a search draws, and what they scored after how many seconds.

Both sides of replay.py draw from it by the same rule: a drawn configuration is its nearest recorded one that this run
has not had yet.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from curve_files import Curve, Params, about, read
from curve_tasks import CURVE_TASKS, SPACE

WEIGHTS = {"learning_rate": 2.0, "freeze_depth": 1.0, "batch_size": 0.5, "weight_decay": 0.1}
"""Of a hyperparameter's distance: what changes scores most decides. `epochs` are not in it: they are the same first."""
HALF_POINT = 0.005
ROUNDING = 1e-9


@dataclass(frozen=True)
class Table:
    """The recorded curves of one task.

    Attributes:
        name: The task's.
        curves: By configuration, the baseline first.
        depth: Blocks of the model.
        cached: Seconds are those with the frozen-prefix cache.
    """

    name: str
    curves: tuple[Curve, ...]
    depth: int
    cached: bool = False

    @classmethod
    def of(cls, name: str, cached: bool = False) -> "Table":
        """Read a task's table, without what the space does not hold. Exits where nothing was recorded."""
        curves = read(name)
        if not curves:
            raise SystemExit(f"Nothing is recorded of {name}: run benchmarks/record_curves.py --task {name}.")
        curves = [curve for curve in curves if curve.params["epochs"] <= SPACE["epochs"]["high"]]
        return cls(name, tuple(curves), int(about(name)["depth"]), cached)

    @property
    def evaluations_per_epoch(self) -> int:
        """Evaluations of an epoch."""
        return CURVE_TASKS[self.name].evaluations_per_epoch

    @property
    def most_steps(self) -> int:
        """Evaluations of the longest configuration of the space."""
        return int(SPACE["epochs"]["high"]) * self.evaluations_per_epoch

    @cached_property
    def best(self) -> float:
        """The best validation accuracy of the table."""
        return max(curve.best for curve in self.curves)

    @property
    def target(self) -> float:
        """The validation accuracy that counts as reached: half a point below the best known."""
        return self.best - HALF_POINT - ROUNDING

    @cached_property
    def total_seconds(self) -> float:
        """The seconds of all configurations, trained to their ends."""
        return sum(self.seconds(curve)[-1] for curve in self.curves)

    def seconds(self, curve: Curve) -> list[float]:
        """Return the seconds that a curve's evaluations came after."""
        return curve.cached_seconds if self.cached else curve.seconds

    def nearest(self, params: Params, used: set[int]) -> Curve:
        """Return the recorded configuration for a drawn one, and count it as used.

        Those with the same number of epochs come first, as a schedule depends on them; then the nearest. Once a run has
        had all, it may have each again.
        """
        if len(used) >= len(self.curves):
            used.clear()
        place = self._place(params)
        free = [curve for curve in self.curves if curve.number not in used]
        curve = min(
            free,
            key=lambda one: (
                abs(one.params["epochs"] - params["epochs"]),
                sum(WEIGHTS[name] * (place[name] - here) ** 2 for name, here in self._place(one.params).items()),
                one.number,
            ),
        )
        used.add(curve.number)
        return curve

    def _place(self, params: Params) -> dict[str, float]:
        """Return a configuration's place in the unit cube."""
        rate, sizes = SPACE["learning_rate"], SPACE["batch_size"]
        return {
            "learning_rate": math.log(params["learning_rate"] / rate["low"]) / math.log(rate["high"] / rate["low"]),
            "freeze_depth": params["freeze_depth"] / self.depth,
            "batch_size": math.log(params["batch_size"] / sizes[0]) / math.log(sizes[-1] / sizes[0]),
            "weight_decay": params["weight_decay"] / SPACE["weight_decay"]["high"],
        }


@dataclass(frozen=True)
class Case:
    """One run of a side.

    Attributes:
        table: What it searches.
        seed: Of the search.
        workers: Trials at the same time.
        gpu_seconds: It ends then.
    """

    table: Table
    seed: int
    workers: int
    gpu_seconds: float


@dataclass
class Trace:
    """The best score so far of one run, at each of its improvements.

    Attributes:
        points: (GPU seconds, validation accuracy, test accuracy of the same evaluation).
        trials: That were started.
    """

    points: list[tuple[float, float, float]]
    trials: int = 0

    def add(self, gpu_seconds: float, validation: float, test: float | None) -> None:
        """Take an evaluation; it is kept where it is the best so far."""
        if not self.points or validation > self.points[-1][1]:
            self.points.append((gpu_seconds, validation, test or 0.0))

    def reached(self, target: float, otherwise: float) -> float:
        """Return the GPU seconds until a score, `otherwise` where it was not reached."""
        return next((seconds for seconds, value, _ in self.points if value >= target), otherwise)

    @property
    def value(self) -> float:
        """The best validation accuracy of the run; 0 without an evaluation."""
        return self.points[-1][1] if self.points else 0.0

    @property
    def test(self) -> float:
        """The test accuracy of that evaluation."""
        return self.points[-1][2] if self.points else 0.0

    def at(self, gpu_seconds: float) -> float:
        """Return the best score so far at a time; 0 before the first."""
        return max((value for seconds, value, _ in self.points if seconds <= gpu_seconds), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {"points": self.points, "trials": self.trials}
