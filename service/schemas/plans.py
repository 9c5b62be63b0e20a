"""Plans of studies, as the REST interface answers them."""

from typing import Any

from pydantic import BaseModel, Field, FiniteFloat

from luthier.service.schemas.data import DataView
from luthier.studies.depth_scores import DepthProbe
from luthier.studies.first_trials import FirstTrial
from luthier.studies.results import BatchFit, Block


class ModelPlan(BaseModel):
    """A model that a spec names, as a worker found it.

    Attributes:
        model: as in the spec.
        blocks: bottom first.
        trainable_parameters: how many parameters are trained at freeze depth 0, 1, ... len(blocks).
        seconds_per_trial: what a trial at the baseline is expected to take at these depths, once the outputs of its
            frozen blocks are kept; empty where the worker could not probe.
        probe: what a linear model makes of the features at each freeze depth, about the least that trials there reach;
            null where that was not measured: for other tasks, few rows, or its cost.
    """

    model: str
    blocks: list[Block]
    trainable_parameters: list[int]
    seconds_per_trial: list[FiniteFloat] = []
    probe: DepthProbe | None = None


class PlanEstimates(BaseModel):
    """Estimates from a probe of a few steps with the baseline's configuration, of trials that train to their end.

    Attributes:
        seconds_per_trial: of one trial.
        seconds: of all trials of the budget, `parallel` at the same time; null without a budget of trials.
        memory_bytes: of the device, at most.
        batch_sizes: the batch sizes of the space, ascending, and which of them fit in memory.
    """

    seconds_per_trial: FiniteFloat
    seconds: FiniteFloat | None = None
    memory_bytes: int | None = None
    batch_sizes: list[BatchFit] = []


class RungPlan(BaseModel):
    """A rung of the pruner asha: an evaluation at which trials pause, unless they are among the best there.

    Attributes:
        step: the evaluation.
        trials: how many come to it where scores arrive in no order, and more where later trials are better; null where
            the number of trials has no limit.
    """

    step: int
    trials: int | None = None


class PrunerPlan(BaseModel):
    """What the pruner of a spec can do.

    Attributes:
        name: as in the spec, or the default.
        trials: the study's trials, at most; null where neither its budget nor its space limits them.
        prunable_trials: those of them that it can end early, at most; null where `trials` is. It is 0 for no pruner.
        note: about how many have others to be compared with, as a sentence; null where lengths do not matter.
        rungs: ascending; of the pruner asha only.
    """

    name: str
    trials: int | None = None
    prunable_trials: int | None = None
    note: str | None = None
    rungs: list[RungPlan] = Field([], exclude_if=lambda rungs: not rungs)


class PlanView(BaseModel):
    """A plan: the space, data, models and estimates of a spec. Nothing is stored.

    Attributes:
        space: the search space, with each `auto` resolved.
        data: sizes of the data, and what is remarkable about it.
        models: in the order of the spec.
        estimates: null where the worker could not probe.
        pruner: how many trials it can end early.
        first: the trials that it begins with (its baseline, its warm start, its portfolio), then what is dropped.
        remarks: what the spec writes itself in place of its preset's, a sentence for each key.
        limits: what the spec's limit on a trial's time means for its trials, as sentences.
    """

    space: dict[str, Any]
    data: DataView
    models: list[ModelPlan]
    estimates: PlanEstimates | None = None
    pruner: PrunerPlan | None = None
    first: list[FirstTrial] = []
    remarks: list[str] = []
    limits: list[str] = []
