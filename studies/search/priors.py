"""Draws near the priors of a space: a mixture with the sampler's own proposals, which fades as trials come in.

`drawing.py` puts them in place of the sampler's values. A draw depends on the study's seed, the trial's number and the
attempt alone, so that a study which another process continues draws the same.

Trial n is drawn near the priors with probability WEIGHT / (WEIGHT + n): all ranges with a prior together, each by a
Gaussian around it, of standard deviation SPREAD in the range's unit interval (of logarithms where it is `log`), cut
off at the ends. All else of the configuration is the sampler's. The Gaussian is that of NePS (Mallik et al. 2023,
PriorBand, NeurIPS 36); that a prior's weight falls as 1 / n is piBO's (Hvarfner et al. 2022, ICLR, section 4.1), so
that a wrong one is forgotten.
"""

import math
import random
from statistics import NormalDist

from luthier.studies.dimensions import Range, nearest
from luthier.studies.hyperparameters import Params, Scalar
from luthier.studies.space import Space

WEIGHT = 5.0  # trials: of so many every second one is drawn near the priors, and of 30 about a third of all
SPREAD = 0.25


def share(number: int) -> float:
    """Return the probability that trial `number` is drawn near the priors."""
    return WEIGHT / (WEIGHT + number)


def near_priors(space: Space, seed: int, number: int, attempt: int) -> Params:
    """Return values near the priors of a resolved space for one draw; none where the draw is the sampler's alone.

    Args:
        space: The study's.
        seed: The study's.
        number: The trial's number.
        attempt: The number of the proposal for this trial, from 0.
    """
    names = space.priors()
    rng = random.Random(f"prior/{seed}/{number}/{attempt}")  # noqa: S311 - not a secret
    if not names or rng.random() >= share(number):
        return {}
    return {name: _near(d, rng) for name in names if isinstance(d := space[name], Range)}


def _near(d: Range, rng: random.Random) -> Scalar:
    """Return a value of a range near its prior."""
    assert d.prior is not None
    margin = (d.step or 1) / 2 if d.finite else 0.0  # of a lattice, the ends are drawn as often as any other value
    low, high, prior = float(d.low) - margin, float(d.high) + margin, float(d.prior)
    if d.log:
        low, high, prior = math.log(low), math.log(high), math.log(prior)
    if high <= low:
        return nearest(d, d.prior)
    gaussian = NormalDist((prior - low) / (high - low), SPREAD)
    bottom, top = gaussian.cdf(0.0), gaussian.cdf(1.0)
    value = low + gaussian.inv_cdf(bottom + (top - bottom) * rng.random()) * (high - low)
    return nearest(d, math.exp(value) if d.log else value)
