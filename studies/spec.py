"""A study's spec: the document a user writes, validated to the last key.

Importable without Optuna or torch. `parse_spec` reads YAML or JSON; every problem names its path and the cure.
"""

import hashlib
import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from luthier.studies.documents import Document, load_document
from luthier.studies.model_space import MODEL_SCHEMA, ModelsSpace, check_models
from luthier.studies.space import Range, Space, refuse
from luthier.studies.tasks import TASKS, Task

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
SamplerName = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]
Precision = Literal["auto", "float32", "bfloat16"]
PrunerName = Literal["median", "hyperband", "halving", "percentile", "patient", "none"]


class SplitFiles(Document):
    """One file or folder per split, where the data comes split already."""

    train: str = Field(min_length=1)
    validation: str | None = Field(None, min_length=1)
    test: str | None = Field(None, min_length=1)


class Dataset(Document):
    """Where the examples come from. A fraction is drawn seeded and stratified by label; a string names a split."""

    source: str | SplitFiles
    subset: str | None = Field(None, description="A hub data set's configuration, as mrpc in glue.")
    columns: dict[str, str] = Field(default_factory=dict, description="Role (text, label, ...) -> column name.")
    validation: FiniteFloat | str = Field(0.15, description="Fraction of the training rows, or a split's name.")
    test: FiniteFloat | str = Field(0.15, description="Likewise; 0 for none.")
    limit: int | None = Field(None, ge=10, description="A seeded, stratified sample of so many rows.")
    draw: Literal["random", "stable"] = Field(
        "random",
        description="How splits are drawn. stable: by each row's content, so that it keeps its side as rows are added.",
    )

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return SplitFiles.model_validate(value)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError("must be a file, a folder, a hub id, or {train: ..., validation: ..., test: ...}")
        return value

    @model_validator(mode="after")
    def _splits(self) -> Self:
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise refuse("dataset", (("validation",), "must be a fraction above 0 and below 1, or a split's name"))
        if isinstance(self.test, float) and not 0 <= self.test < 1:
            raise refuse("dataset", (("test",), "must be a fraction from 0 to below 1, or a split's name"))
        if isinstance(self.validation, float) and isinstance(self.test, float) and self.validation + self.test >= 1:
            raise refuse("dataset", (("test",), "validation and test together must leave rows to train on"))
        return self


class Objective(Document):
    """What is optimised: a metric on the validation split, at a trial's best or last evaluation."""

    metric: str = "accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"
    measurement: Literal["best", "last"] = "best"

    @model_validator(mode="before")
    @classmethod
    def _direction(cls, raw: Any) -> Any:
        known = {m.name: m for task in TASKS.values() for m in task.metrics}
        if isinstance(raw, dict) and raw.get("metric") in known and "direction" not in raw:
            raw = {**raw, "direction": "maximize" if known[raw["metric"]].maximize else "minimize"}
        return raw


class Sampler(Document):
    """How configurations are drawn. `startup_trials` random ones come before the model (tpe, gp, cmaes)."""

    name: SamplerName = "tpe"
    startup_trials: int | None = Field(None, ge=1, le=10_000)

    @model_validator(mode="after")
    def _options(self) -> Self:
        if self.startup_trials is not None and self.name not in ("tpe", "gp", "cmaes"):
            raise refuse("sampler", (("startup_trials",), f"has no meaning for {self.name}; leave it out"))
        return self


PRUNER_OPTIONS: dict[str, tuple[str, ...]] = {
    "median": ("startup_trials", "warmup_steps"),
    "percentile": ("startup_trials", "warmup_steps", "percentile"),
    "hyperband": ("reduction_factor",),
    "halving": ("reduction_factor",),
    "patient": ("patience", "startup_trials", "warmup_steps"),
    "none": (),
}


class Pruner(Document):
    """Which trials end early. A step is one evaluation: the same amount of data seen in every trial."""

    name: PrunerName = "hyperband"
    startup_trials: int | None = Field(None, ge=0, le=10_000, description="Complete trials before any is pruned.")
    warmup_steps: int | None = Field(None, ge=0, le=10_000, description="Evaluations before a trial may be pruned.")
    percentile: FiniteFloat | None = Field(None, gt=0, lt=100, description="Best share of trials kept, in percent.")
    patience: int | None = Field(None, ge=0, le=10_000, description="Evaluations without improvement tolerated.")
    reduction_factor: int | None = Field(None, ge=2, le=100, description="Share of trials kept per rung: 1 in so many.")

    @model_validator(mode="after")
    def _options(self) -> Self:
        allowed = PRUNER_OPTIONS[self.name]
        wrong = sorted(k for k in self.model_fields_set - {"name"} - set(allowed) if getattr(self, k) is not None)
        if wrong:
            text = f"has no meaning for {self.name}" + (f", which takes {', '.join(allowed)}" if allowed else "")
            raise refuse("pruner", *(((k,), text) for k in wrong))
        return self


class Budget(Document):
    """When the search ends: whichever limit comes first. Then the winner is measured on the test split."""

    trials: int | None = Field(None, ge=1, le=100_000, description="Trials started, the baseline included.")
    wall_clock_seconds: FiniteFloat | None = Field(None, gt=0, description="From the first trial's start.")
    gpu_seconds: FiniteFloat | None = Field(None, gt=0, description="Sum of the time workers were busy with trials.")
    target: FiniteFloat | None = Field(None, description="Stop once a trial has ended with an objective this good.")
    failures: int | None = Field(None, ge=1, description="Stop as failed once so many trials have failed.")
    trial_seconds: FiniteFloat | None = Field(
        None, gt=0, description="An attempt at a trial that runs longer fails it as a timeout."
    )


class Resources(Document):
    """What a trial may take of a machine."""

    gpus: FiniteFloat | None = Field(
        None, gt=0, le=1, description="Share of a GPU; without it, as much as trials turn out to need."
    )


class Confirm(Document):
    """The best configurations are trained again, on fresh seeds, before one wins: so that a lucky run does not."""

    candidates: int = Field(3, ge=1, le=20, description="Configurations: those with the best scores.")
    seeds: int = Field(3, ge=1, le=20, description="Times each is trained again; the best mean wins.")


class StudySpec(Document):
    """One study: a model, a data set, a search space and a budget."""

    name: str = Field(pattern=NAME_PATTERN)
    task: str
    model: Annotated[str | tuple[str, ...], BeforeValidator(check_models), WithJsonSchema(MODEL_SCHEMA)]
    dataset: Dataset
    objective: Objective = Objective()
    space: Space
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()
    seed: int = Field(0, ge=0, lt=2**32)
    budget: Budget = Budget(trials=30)
    parallel: int = Field(1, ge=1, le=1024, description="Trials that may run at the same time.")
    confirm: Confirm | None = Field(None, description="Train the best again on fresh seeds; left out: the best wins.")
    resources: Resources = Resources()
    augmentation: Literal["none", "standard", "trivial"] = Field(
        "none",
        description="Random changes to training images: standard crops and mirrors them, trivial adds TrivialAugment.",
    )
    precision: Precision = Field(
        "auto",
        description="Of matrix products; weights stay float32. auto: bfloat16 on GPUs that have it, float32 on CPUs. "
        "float32: without TF32, which auto and bfloat16 use on GPUs for products that stay float32.",
    )
    evaluations_per_epoch: int = Field(1, ge=1, le=100, description="Validation scores reported per epoch.")

    @field_validator("space", mode="before")
    @classmethod
    def _space(cls, value: Any, info: ValidationInfo) -> Any:
        models = info.data.get("model")
        return ModelsSpace.over(models, value) if isinstance(models, tuple) else value

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f"must be one of {', '.join(TASKS)}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, raw: Any) -> Any:
        """Without a choice of the user's, a task's first metric is optimised."""
        task = TASKS.get(raw["task"]) if isinstance(raw, dict) and isinstance(raw.get("task"), str) else None
        objective = raw.get("objective", {}) if task else None
        if task is None or not isinstance(objective, dict) or "metric" in objective:
            return raw
        return {**raw, "objective": {**objective, "metric": task.metrics[0].name}}

    @model_validator(mode="before")
    @classmethod
    def _default_pruner(cls, raw: Any) -> Any:
        """Without a choice of the user's, nothing is pruned where trials have too few evaluations for it."""
        if not isinstance(raw, dict) or raw.get("pruner") is not None or not isinstance(raw.get("space"), dict):
            return raw
        try:
            epochs = Space.model_validate({k: v for k, v in raw["space"].items() if k == "epochs"}).largest("epochs")
            single = int(epochs) * int(raw.get("evaluations_per_epoch", 1)) == 1
        except (ValueError, TypeError):
            return raw
        return {**{k: v for k, v in raw.items() if k != "pruner"}, **({"pruner": {"name": "none"}} if single else {})}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        metric = self.task_info.metric(self.objective.metric)
        names = ", ".join(m.name for m in self.task_info.metrics)
        if metric is None:
            problems.append((("objective", "metric"), f"must be one of {names}"))
        elif metric.maximize != self.maximize:
            right = "maximize" if metric.maximize else "minimize"
            problems.append((("objective", "direction"), f"must be {right} for {metric.name}"))
        roles = self.task_info.columns
        for role in self.dataset.columns:
            if role not in roles:
                problems.append((("dataset", "columns", role), f"unknown role; {self.task} has {', '.join(roles)}"))
        refuses = self.task_info.refuses
        problems += [(("space", name), refuses[name]) for name in self.space if name in refuses]
        if self.augmentation != "none" and "image" not in roles:
            problems.append((("augmentation",), f"must be none: {self.task} has no images"))
        if self.pruner.name != "none" and self.max_steps == 1:
            problems.append(
                (
                    ("pruner", "name"),
                    "must be none: every trial has one evaluation; "
                    "raise space.epochs or evaluations_per_epoch to prune",
                )
            )
        if self.sampler.name == "grid":
            for name, d in self.space.free().items():
                if isinstance(d, Range) and not d.finite and name != "freeze_depth":  # blocks can be counted
                    problems.append((("space", name), "a grid needs finite choices: list them, or give a step"))
        bounds = (self.budget.trials, self.budget.wall_clock_seconds, self.budget.gpu_seconds)
        if all(bound is None for bound in bounds):
            problems.append((("budget",), "must set trials, wall_clock_seconds or gpu_seconds, so that it ends"))
        if problems:
            raise refuse("spec", *problems)
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The model, or all that are searched; the baseline fine-tunes the first."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def task_info(self) -> Task:
        return TASKS[self.task]

    @property
    def maximize(self) -> bool:
        return self.objective.direction == "maximize"

    @property
    def max_steps(self) -> int:
        """Evaluations in the longest trial."""
        return int(self.space.largest("epochs")) * self.evaluations_per_epoch


def parse_spec(text: str) -> StudySpec:
    """A validated spec from YAML or JSON text. Raises ValueError (pydantic's ValidationError is one)."""
    document = load_document(text)
    if not isinstance(document, dict):
        raise ValueError("a spec is a mapping of keys: name, task, model, dataset, space, budget, ...")
    return StudySpec.model_validate(document)


def trial_seed(study_seed: int, number: int, again: int = 0) -> int:
    """The seed of a trial: 32 bits of SHA-256 over the study's seed and the trial's number; `again`: of its n-th
    repetition."""
    text = f"{study_seed}/{number}" + (f"/{again}" if again else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def is_better(a: float, b: float, maximize: bool) -> bool:
    """Whether score `a` beats `b`; nothing beats with a number that is not finite."""
    return math.isfinite(a) and (a > b if maximize else a < b)
