"""The part of a spec that defines the search: objective, sampler and pruner, and their defaults.

`studies/search` builds Optuna's samplers and pruners by it. It must never import Optuna: a spec is read without it.
"""

from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from luthier.studies.documents import Document, Path, refuse
from luthier.studies.space import Space
from luthier.studies.tasks import TASKS

SamplerName = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]
PrunerName = Literal["median", "hyperband", "halving", "asha", "percentile", "patient", "none"]

# Random trials before a sampler's model, the baseline among them. They are Optuna's defaults: a density estimate or a
# Gaussian process over fewer points is noise, and CMA-ES starts from a distribution of its own.
STARTUP_TRIALS: dict[str, int] = {"tpe": 10, "gp": 10, "cmaes": 1}
QUORUM = 5  # complete trials before any is pruned, as in Optuna: a median of fewer is chance
LEAST_VALUES = 3  # of other trials at an evaluation: the median of fewer is one trial's luck
PERCENTILE = 25.0  # the best quarter stays
PATIENCE = 1  # one evaluation may be worse: scores of single epochs scatter
HYPERBAND_FACTOR = 3  # eta in Li et al. 2018, Hyperband, JMLR 18(185), sections 3.1 and 3.2
HALVING_FACTOR = 4  # Optuna's default
SMALLEST_RESOURCE = 1  # evaluations: the shortest training that a rung of hyperband and halving compares
REDUCTION = f"Trials kept per rung: 1 in so many. Default: {HYPERBAND_FACTOR}; for halving {HALVING_FACTOR}."


class Objective(Document):
    """The score that is optimised: a metric on the validation split, at a trial's best or last evaluation."""

    metric: str = "accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"
    measurement: Literal["best", "last"] = "best"

    @model_validator(mode="before")
    @classmethod
    def _direction(cls, raw: Any) -> Any:
        """Take the metric's direction if the user chose none."""
        metrics = {metric.name: metric for task in TASKS.values() for metric in task.metrics}
        if isinstance(raw, dict) and str(raw.get("metric")) in metrics and "direction" not in raw:
            raw = {**raw, "direction": "maximize" if metrics[raw["metric"]].maximize else "minimize"}
        return raw


class Sampler(Document):
    """The method that draws configurations. `startup_trials` random ones come before the model (tpe, gp, cmaes)."""

    name: SamplerName = "tpe"
    startup_trials: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description=f"Random trials at first. Default: {STARTUP_TRIALS['tpe']}; for cmaes {STARTUP_TRIALS['cmaes']}.",
    )
    # Written only where it is chosen; so specs from before there were portfolios are written as they were.
    portfolio: bool = Field(
        False,
        exclude_if=lambda portfolio: not portfolio,
        description="Known-good configurations of the task first, right after the baseline.",
    )
    cost_aware: bool | Literal["auto"] = Field(
        False,
        exclude_if=lambda aware: aware is False,
        description="Weigh the seconds of trials, the less the more of the budget is spent (tpe). auto: where the "
        "budget is time and no number of trials.",
    )

    @field_validator("cost_aware", mode="before")
    @classmethod
    def _is_choice(cls, value: object) -> object:
        if not isinstance(value, bool) and value != "auto":
            raise ValueError("must be true, false or auto")
        return value

    @model_validator(mode="after")
    def _options(self) -> Self:
        if self.startup_trials is not None and self.name not in STARTUP_TRIALS:
            raise refuse("sampler", (("startup_trials",), f"has no meaning for {self.name}; leave it out"))
        return self


def grid_problems(sampler: Sampler, space: Space) -> list[tuple[Path, str]]:
    """Return the hyperparameters that have no finite choices, where the sampler is a grid."""
    if sampler.name != "grid":
        return []
    return [(("space", name), "a grid needs finite choices: list them, or give a step") for name in space.endless()]


PRUNER_OPTIONS: dict[str, tuple[str, ...]] = {
    "median": ("startup_trials", "warmup_steps"),
    "percentile": ("startup_trials", "warmup_steps", "percentile"),
    "hyperband": ("reduction_factor",),
    "halving": ("reduction_factor",),
    "asha": ("growth", "reduction_factor"),
    "patient": ("patience", "startup_trials", "warmup_steps"),
    "none": (),
}


class Generation(Document):
    """How a model writes texts, for the metrics of a task that need them."""

    max_new_tokens: int = Field(
        64, ge=1, le=4096, description="Tokens that the model writes at most. Default: 64; of a recording 224."
    )
    num_beams: int = Field(1, ge=1, le=32, description="Beams of the search; 1: the most likely token each time.")
    rows: int = Field(
        200, ge=1, description="Validation rows written at each evaluation, where the objective needs texts."
    )


class Answering(Document):
    """How a model reads contexts, and picks the parts of them that answer questions; the names are run_qa.py's."""

    doc_stride: int | None = Field(
        None,
        ge=0,
        le=65_536,
        description="Tokens that two windows of a long context share. Default: a third of the longest input.",
    )
    max_answer_length: int = Field(30, ge=1, le=1_000, description="Tokens of the longest answer.")
    null_score_diff_threshold: FiniteFloat = Field(
        0.0, description="There is no answer where its score is above the best answer's by more than this."
    )


class Pruner(Document):
    """The rule that ends trials early. A step is one evaluation: the same amount of data in every trial of a study."""

    name: PrunerName = "hyperband"
    startup_trials: int | None = Field(
        None, ge=0, le=10_000, description=f"Complete trials before any is pruned. Default: {QUORUM}."
    )
    warmup_steps: int | None = Field(
        None, ge=0, le=10_000, description="Evaluations before a trial may be pruned. Default: 0."
    )
    percentile: FiniteFloat | None = Field(
        None, gt=0, lt=100, description=f"Best share of trials kept, in percent. Default: {PERCENTILE:g}."
    )
    patience: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Evaluations without improvement tolerated; then a trial ends unless it is better than the median. "
        f"Default: {PATIENCE}.",
    )
    reduction_factor: int | None = Field(None, ge=2, le=100, description=REDUCTION)
    growth: Literal["none", "pasha"] | None = Field(
        None,
        exclude_if=lambda growth: growth is None,
        description="asha: `pasha` trains further only while the ranking of trials still changes. Default: none.",
    )

    @model_validator(mode="after")
    def _options(self) -> Self:
        allowed = PRUNER_OPTIONS[self.name]
        wrong = sorted(k for k in self.model_fields_set - {"name"} - set(allowed) if getattr(self, k) is not None)
        if wrong:
            text = f"has no meaning for {self.name}" + (f", which takes {', '.join(allowed)}" if allowed else "")
            raise refuse("pruner", *(((k,), text) for k in wrong))
        return self
