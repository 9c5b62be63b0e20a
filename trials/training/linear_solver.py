"""Linear models on fixed features, solved to the optimum: logistic regressions by L-BFGS, ridge in closed form.

The inspection's probes and trials with `strategy: probe` call it. The objectives are scikit-learn's, with a penalty
that is 1 / C of its LogisticRegression and alpha of its Ridge. It draws nothing at random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

PENALTIES = (10_000.0, 1_000.0, 100.0, 10.0, 1.0)
"""Strengths of the penalty that are tried on features of deviation 1; each begins at the solution of the one before."""
FOLD = 5
"""One training unit of so many is held out while the penalty is chosen."""
MOST_CHOSEN_ON = 10_000
"""Training units, spread evenly, on which the penalty is chosen."""
STEPS = 2_000
"""Of L-BFGS at most; some dozens suffice, since the features are uncorrelated and scaled first."""
MOST_DOUBLES = 2**27
"""Numbers of features above which float32 is computed with: in float64 they would take more than 1 GiB."""
GRADIENT = {torch.float64: 1e-9, torch.float32: 1e-6}
"""Largest entry of the mean loss's gradient at which L-BFGS ends."""
CHANGE = {torch.float64: 1e-13, torch.float32: 1e-9}
"""Change of the mean loss below which there is only rounding."""
ROUGH = 1e-4
"""The gradient that suffices to compare penalties."""

Kind = Literal["classes", "label_sets", "numbers"]


@dataclass(frozen=True)
class Problem:
    """What is to be predicted.

    Attributes:
        kind: classes: one of several; label_sets: each label by itself; numbers.
        targets: (units,) class ids; (units, labels) of 0 and 1; or (units,) numbers.
        outputs: Number of classes or labels; 1 for numbers.
        weights: (outputs,) of the loss of each class, or of the loss where a label is given; None: all alike.
    """

    kind: Kind
    targets: torch.Tensor
    outputs: int
    weights: torch.Tensor | None = None

    def of(self, units: torch.Tensor) -> "Problem":
        """Return the problem of some units."""
        return Problem(self.kind, self.targets[units], self.outputs, self.weights)

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of the units' losses, (); `outputs`: (units, outputs)."""
        weights = None if self.weights is None else self.weights.to(outputs)
        if self.kind == "classes":
            return functional.cross_entropy(outputs, self.targets, weights, reduction="sum")
        targets = self.targets.to(outputs)
        if self.kind == "numbers":
            return (outputs[:, 0] - targets).square().sum()
        return functional.binary_cross_entropy_with_logits(outputs, targets, pos_weight=weights, reduction="sum")


@dataclass(frozen=True)
class Linear:
    """A linear model: values @ weight.T + bias; `weight` is (outputs, features), `bias` (outputs,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return the outputs of (units, features): (units, outputs)."""
        return values.to(self.weight) @ self.weight.T + self.bias


class Design:
    """Features of the training units, ready for solving: centred, scaled, and turned until they are uncorrelated.

    A turn leaves the penalty as it is, so the optimum is that of the features themselves.

    Args:
        values: (units, features), finite, on any device.
        standard: Scale each feature to a deviation of 1, where it has one; the penalty is that of scaled features then.
        intercept: Models have a bias; without one features are not centred.
    """

    def __init__(self, values: torch.Tensor, *, standard: bool = True, intercept: bool = True) -> None:
        values = values.to(torch.float64 if values.numel() <= MOST_DOUBLES else torch.float32)
        self.intercept = intercept
        self._mean = values.mean(0) if intercept else torch.zeros_like(values[0])
        centred = values - self._mean
        deviation = centred.square().mean(0).sqrt()
        least = 1e-7 * deviation.amax()  # below it a feature is constant up to rounding
        self._deviation = torch.where(deviation > least, deviation, 1.0) if standard else torch.ones_like(deviation)
        centred /= self._deviation
        spread, axes = torch.linalg.eigh(centred.T @ centred / len(values))  # ascending
        axes = axes[:, -min(values.shape) :]  # along the others the units do not differ
        self._axes = axes
        self.spread: torch.Tensor = spread[-min(values.shape) :].clamp(min=0)  # (axes,) variances
        self.turned: torch.Tensor = centred @ axes  # (units, axes)

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.turned)

    def unturned(self, turned: Linear) -> Linear:
        """Return a model of the turned features as one of the features themselves."""
        weight = turned.weight @ self._axes.T / self._deviation
        return Linear(weight, turned.bias - weight @ self._mean)


def solve(design: Design, problem: Problem, penalty: float, *, rough: bool = False) -> Linear:
    """Return the linear model with the least loss plus penalty.

    That is sum of losses + penalty / 2 * |weight|^2 for classes and label sets, of two classes by the difference of
    their logits; sum of squared errors + penalty * |weight|^2 for numbers. The bias costs nothing.

    Args:
        design: The training units' features.
        problem: Their targets, on the same device.
        penalty: Above 0.
        rough: End near the optimum, where a few digits of the probabilities are right.
    """
    gradient = ROUGH if rough else 0.0
    return design.unturned(_solve_turned(design, None, problem, penalty, gradient=gradient))


def choose_and_solve(
    design: Design, problem: Problem, tick: Callable[[], None] = lambda: None, *, rough: bool = False
) -> tuple[float, Linear]:
    """Return the penalty of `PENALTIES` with the least loss on held-out units, and what all units give with it.

    Held out is every fifth training unit, so that no score on validation has a part in the choice.

    Args:
        design: The training units' features.
        problem: Their targets, on the same device.
        tick: Called before each solution; it may raise to end them.
        rough: As in `solve`.
    """
    distance = max(1, -(-len(design) // MOST_CHOSEN_ON))
    chosen_on = torch.arange(0, len(design), distance, device=design.turned.device)
    held = torch.arange(len(chosen_on), device=chosen_on.device) % FOLD == FOLD - 1
    train, test = chosen_on[~held], chosen_on[held]
    best, least, start = PENALTIES[0], float("inf"), None
    for penalty in PENALTIES if len(test) else ():
        tick()
        share = penalty * len(train) / len(design)  # as strong beside the losses of fewer units
        start = _solve_turned(design, train, problem.of(train), share, start, ROUGH)
        loss = float(problem.of(test).loss(start(design.turned[test])))
        if loss < least:
            best, least = penalty, loss
    tick()
    return best, solve(design, problem, best, rough=rough)


def _solve_turned(
    design: Design,
    units: torch.Tensor | None,
    problem: Problem,
    penalty: float,
    start: Linear | None = None,
    gradient: float = 0.0,
) -> Linear:
    """Return the best linear model of turned features, of all or some units; the rest as in `_minimum`."""
    values = design.turned if units is None else design.turned[units]
    if problem.kind == "numbers":
        return _ridge(values, problem.targets, penalty, design.intercept)
    if problem.kind == "classes" and problem.outputs == 2:
        penalty *= 2  # |difference of two opposite weights|^2 is twice the sum of their squares
    return _minimum(values, design, problem, penalty, start, gradient)


def _ridge(values: torch.Tensor, targets: torch.Tensor, penalty: float, intercept: bool) -> Linear:
    """Return the ridge regression, from its normal equations."""
    targets = targets.to(values)
    share = float(intercept)
    mean, middle = share * values.mean(0), share * targets.mean()
    centred = values - mean
    gram = centred.T @ centred + penalty * torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    weight = torch.linalg.solve(gram, centred.T @ (targets - middle))[None]
    return Linear(weight, middle - weight @ mean)


def _minimum(
    values: torch.Tensor, design: Design, problem: Problem, penalty: float, start: Linear | None, gradient: float
) -> Linear:
    """Return the minimum by L-BFGS, over weights in units in which each axis is about as curved as any other.

    Args:
        values: The units' turned features.
        design: Of all units; their spread scales the axes.
        problem: The units'.
        penalty: Above 0.
        start: A model that is near to the minimum.
        gradient: Where it ends, if that is above `GRADIENT`.
    """
    units = len(values)
    curvature = (design.spread / 4 + penalty / units).sqrt()  # a logistic loss is less than a quarter as curved
    scaled = values / curvature
    shape = (problem.outputs, values.shape[1])
    begin = Linear(values.new_zeros(shape), values.new_zeros(shape[0])) if start is None else start
    weight = (begin.weight * curvature).requires_grad_()
    bias = begin.bias.clone().requires_grad_(design.intercept)
    optimizer = torch.optim.LBFGS(
        [weight, bias] if design.intercept else [weight],
        max_iter=STEPS,
        tolerance_grad=max(gradient, GRADIENT[values.dtype]),
        tolerance_change=CHANGE[values.dtype],
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (problem.loss(scaled @ weight.T + bias) + penalty / 2 * (weight / curvature).square().sum()) / units
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Linear((weight / curvature).detach(), bias.detach())
