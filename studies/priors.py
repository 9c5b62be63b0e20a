"""Which samplers take priors, the values of ranges that a user believes in.

`spec_problems.py` and `external.py` ask, `search/priors.py` draws near them. Nothing of Optuna is known here.
"""

from luthier.studies.documents import Path
from luthier.studies.space import Space
from luthier.studies.strategy import Sampler

WITH_PRIORS = ("tpe", "gp", "random")
"""Samplers whose proposals may be mixed with others: they learn from any trial, or from none."""
_WITHOUT = {
    "grid": "a grid runs every configuration once, wherever it lies",
    "qmc": "the points of a Sobol sequence cover the space evenly as a whole, so none of them may move",
    "cmaes": "CMA-ES learns from the points of its own distribution alone",
}


def prior_problems(sampler: Sampler, space: Space) -> list[tuple[Path, str]]:
    """Return the priors that mean nothing to the sampler, each with the path of its range."""
    if sampler.name in WITH_PRIORS:
        return []
    why = _WITHOUT.get(sampler.name, f"{sampler.name} has a plan of its own")
    text = f"{why}: take the sampler {', '.join(WITH_PRIORS[:-1])} or {WITH_PRIORS[-1]}, or leave prior out"
    return [(("space", name, "prior"), text) for name in space.priors()]
