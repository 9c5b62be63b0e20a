"""A study's spec: the document that a user writes, validated to the last key.

The service reads specs and hands them to the workers; `parse_spec` reads YAML or JSON, and every problem names its path
and the cure. It must never import Optuna or torch.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticKnownError

from luthier.studies.augmentations import AugmentationName, augmentation_problem, idle_strength
from luthier.studies.budget import Budget, Confirm, Resources
from luthier.studies.dataset import Dataset
from luthier.studies.documents import Document, mapping_of, refuse
from luthier.studies.early_stopping import EarlyStopping, stopping_problems
from luthier.studies.external import (
    ANY_LENGTH,
    EXTERNAL,
    IDLE_KEYS,
    NO_DATASET,
    refused,
    search_problems_of,
    with_external,
)
from luthier.studies.external import TASK as EXTERNAL_TASK
from luthier.studies.foreign_specs import foreign_spec, program_in
from luthier.studies.hyperparameters import AUTO, complete
from luthier.studies.model_space import MODEL_SCHEMA, ModelsSpace, check_models
from luthier.studies.open_space import OpenSpace
from luthier.studies.origin import Origin, configuration_problems
from luthier.studies.presets import PresetName, fill_preset
from luthier.studies.prunable import Trials, prunable_trials, trials_of, trials_of_length
from luthier.studies.rates import rate_problems
from luthier.studies.results import Inspection
from luthier.studies.semantics import (
    EPOCHS_OF_TASK,
    IDLE_PRUNER_REFUSED,
    LENGTH_AUTO,
    NEWEST_SEMANTICS,
    OLDEST_SEMANTICS,
)
from luthier.studies.space import Space
from luthier.studies.spec_problems import (
    Problems,
    answering_problems,
    dataset_problems,
    grid_problems,
    objective_problems,
)
from luthier.studies.strategy import Answering, Generation, Objective, Pruner, Sampler
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS

TEMPLATE_NAME = "scheduled"  # of a schedule's spec, until a run gives it one
LATER_KEYS = ("early_stopping", "generation")  # keys of a study that older versions lacked; left out, they are None
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Precision = Literal["auto", "float32", "bfloat16"]
Quantization = Literal["none", "4bit"]
End = Literal["completed", "stopped", "cancelled", "failed"]
ENDS: tuple[End, ...] = get_args(End)


def _completed(schema: dict[str, Any]) -> None:
    """Let the JSON Schema of a spec say of external studies and presets what pydantic cannot say."""
    with_external(schema)
    schema["required"].remove("space")
    schema["anyOf"] = [{"required": ["space"]}, {"required": ["preset"]}]


def _given_unless_external(check: Callable[[Any], Any] = lambda value: value) -> Callable[[Any, ValidationInfo], Any]:
    """Return a check of a field that every study has, but for external ones, which must not have it."""

    def check_given(value: Any, info: ValidationInfo) -> Any:
        is_default = value in ((), NO_DATASET)
        text = refused(info.data.get("task"), str(info.field_name))
        if text is not None and not is_default:
            raise ValueError(text)
        if text is None and is_default:
            raise PydanticKnownError("missing")
        return value if is_default else check(value)

    return check_given


class StudySpec(Document):
    """A study: a model or several, a data set, a search space and a budget."""

    model_config = ConfigDict(
        json_schema_extra=_completed, validate_by_name=False, validate_by_alias=True, serialize_by_alias=True
    )

    name: str = Field(pattern=NAME_PATTERN)
    task: str
    # Both are missing where a user leaves them out, but for external studies, which have neither.
    model: Annotated[
        str | tuple[str, ...], BeforeValidator(_given_unless_external(check_models)), WithJsonSchema(MODEL_SCHEMA)
    ] = Field((), validate_default=True, exclude_if=lambda model: model == ())
    dataset: Annotated[Dataset, BeforeValidator(_given_unless_external())] = Field(
        NO_DATASET, validate_default=True, exclude_if=lambda dataset: dataset == NO_DATASET
    )
    objective: Objective = Objective()
    preset: PresetName | None = Field(
        None,
        exclude_if=lambda preset: preset is None,
        description="In place of space and budget: quick, good or best. The study has what it stands for, written out.",
    )
    space: Space
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()
    early_stopping: EarlyStopping | None = Field(
        None, description="End trials whose score stands still; left out: they train to their end."
    )
    seed: int = Field(0, ge=0, lt=2**32)
    budget: Budget = Budget(trials=30)
    parallel: int = Field(1, ge=1, le=1024, description="Trials that may run at the same time.")
    confirm: Confirm | None = Field(None, description="Train the best again on fresh seeds; left out: the best wins.")
    resources: Resources = Resources()
    augmentation: AugmentationName = Field(
        "none", description="Random changes to training inputs; those of a task are in its entry of GET /v1/tasks."
    )
    precision: Precision = Field(
        "auto",
        description="Of matrix products; weights stay float32. auto: bfloat16 on GPUs that have it, float32 on CPUs. "
        "float32: without TF32, which auto and bfloat16 use on GPUs for products that stay float32.",
    )
    quantization: Quantization = Field(
        "none",
        exclude_if=lambda quantization: quantization == "none",
        description="Of weights below adapters. 4bit: linear layers above the freeze depth hold them in NF4 (QLoRA). "
        "It needs a GPU, bitsandbytes and strategy: lora.",
    )
    # Written only where it is on; so specs from before there was such a thing are written as they were.
    gradient_checkpointing: bool = Field(
        False,
        exclude_if=lambda on: not on,
        description="Blocks compute their values again for their gradients: less memory, more time.",
    )
    evaluations_per_epoch: int = Field(1, ge=1, le=100, description="Validation scores reported per epoch.")
    steps: int | None = Field(
        None,
        ge=1,
        lt=2**31,
        exclude_if=lambda steps: steps is None,
        description="The last step that a trial of an external study reports, which pruners go by.",
    )
    generation: Generation | None = Field(None, description="How models write texts, for tasks that have them written.")
    origin: Origin | None = Field(
        None,
        alias="from",
        exclude_if=lambda origin: origin is None,
        description="Old trials that it goes on from: those of a study that has ended, or of a file.",
    )
    answering: Answering | None = Field(
        None,
        exclude_if=lambda answering: answering is None,
        description="How contexts are read and answers picked, for question answering.",
    )
    notify: tuple[End, ...] = Field(
        ENDS,
        exclude_if=lambda ends: ends == ENDS,
        description="Ends that are sent to the service's webhook, if it has one.",
        strict=False,
    )
    # Users do not write it: `parse_spec` and `parse_schedule` set the newest. Stored specs without it are the oldest.
    semantics: SkipJsonSchema[int] = Field(OLDEST_SEMANTICS, ge=OLDEST_SEMANTICS)

    @field_validator("space", mode="before")
    @classmethod
    def _space(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("task") == EXTERNAL:
            return OpenSpace.model_validate(value)
        elsewhere = cls.model_fields.keys() & value.keys() - Space.vocabulary.keys() if isinstance(value, dict) else ()
        if elsewhere:
            problem = "is a key of the spec and no hyperparameter: write it beside space, not in it"
            raise refuse("space", *(((name,), problem) for name in sorted(elsewhere)))
        models = info.data.get("model")
        return ModelsSpace.over(models, value) if isinstance(models, tuple) else value

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS and value != EXTERNAL:
            raise ValueError(f"must be one of {', '.join(TASKS)}, or {EXTERNAL} for a trainer of your own")
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, raw: Any) -> Any:
        """Take the task's first metric as the objective if the user chose none."""
        task = TASKS.get(raw["task"]) if isinstance(raw, dict) and isinstance(raw.get("task"), str) else None
        objective = raw.get("objective", {}) if task else None
        if task is None or not isinstance(objective, dict) or "metric" in objective:
            return raw
        return {**raw, "objective": {**objective, "metric": task.metrics[0].name}}

    @model_validator(mode="before")
    @classmethod
    def _default_pruner(cls, raw: Any) -> Any:
        """Take no pruner if the user chose none and trials have too few evaluations to be pruned."""
        if not isinstance(raw, dict) or raw.get("pruner") is not None or not isinstance(raw.get("space"), dict):
            return raw
        if raw.get("task") == EXTERNAL:
            return raw
        try:
            epochs = Space.model_validate({k: v for k, v in raw["space"].items() if k == "epochs"}).largest("epochs")
            single = int(epochs) * int(raw.get("evaluations_per_epoch", 1)) == 1
        except (ValueError, TypeError):
            return raw
        return {**{k: v for k, v in raw.items() if k != "pruner"}, **({"pruner": {"name": "none"}} if single else {})}

    @model_validator(mode="before")
    @classmethod
    def _default_tokens(cls, raw: Any) -> Any:
        """Take the task's number of new tokens if the user chose how to write, and none."""
        task = TASKS.get(raw["task"]) if isinstance(raw, dict) and isinstance(raw.get("task"), str) else None
        written = raw.get("generation") if task else None
        if task is None or not isinstance(written, dict) or "max_new_tokens" in written:
            return raw
        return {**raw, "generation": {**written, "max_new_tokens": task.max_new_tokens}}

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, raw: Any) -> Any:
        """Write out what a preset stands for; defined last of its kind, so that it runs before the others."""
        return raw if isinstance(raw, dict) and raw.get("task") == EXTERNAL else fill_preset(raw)

    @model_validator(mode="after")
    def _no_idle_default(self) -> Self:
        """Take no pruner if the user chose none and the default one could end no trial."""
        if self.is_external and "pruner" not in self.model_fields_set and self.steps is None:
            self.__dict__["pruner"] = Pruner(name="median")  # hyperband's brackets need the longest trial
        if "pruner" not in self.model_fields_set and self.semantics >= IDLE_PRUNER_REFUSED and not self._can_prune():
            self.__dict__["pruner"] = Pruner(name="none")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_external:
            problems = self._external_problems()
        else:
            problems = [*self._task_problems(), *rate_problems(self.space), *self._search_problems()]
            problems += stopping_problems(self.early_stopping, self.objective, self.pruner, self.max_steps)
        if not (self.budget.trials or self.budget.wall_clock_seconds or self.budget.gpu_seconds):
            problems.append((("budget",), "must set trials, wall_clock_seconds or gpu_seconds, so that it ends"))
        if problems:
            raise refuse("spec", *problems)
        return self

    def _external_problems(self) -> Problems:
        """Return what an external study cannot have, and what it lacks."""
        fields = type(self).model_fields
        problems: Problems = [
            ((name,), text)
            for name, text in IDLE_KEYS.items()
            if getattr(self, name) != fields[name].get_default(call_default_factory=True, validated_data={})
        ]
        parts = (self.objective, self.pruner, self.sampler, self.budget, self.space, self.steps)
        return [*problems, *search_problems_of(*parts)]

    def _task_problems(self) -> Problems:
        """Return the values that do not suit the task."""
        task = self.task_info
        problems = objective_problems(self.objective, task) + dataset_problems(self.dataset, task)
        problems += [(("space", name), task.refuses[name]) for name in self.space if name in task.refuses]
        unsuitable = augmentation_problem(self.task, task.augmentation_names, self.augmentation)
        if unsuitable is not None:
            problems.append((("augmentation",), unsuitable))
        if self.generation is not None and not task.generates:
            problems.append((("generation",), f"has no meaning: {self.task} writes no texts; leave it out"))
        problems += answering_problems(self.answering, task, self.space)
        if self.steps is not None:
            text = f"is for task: {EXTERNAL}; here a step is an evaluation: epochs times evaluations_per_epoch"
            problems.append((("steps",), text))
        if self.quantization != "none" and any(self.space.offers("strategy", other) for other in ("full", "gradual")):
            text = "4bit needs adapters in every trial: set space.strategy to lora, or leave quantization out"
            problems.append((("quantization",), text))
        return problems

    def _search_problems(self) -> Problems:
        """Return the values that do not suit the search: it never ends, has no choices, or prunes what is over."""
        known = [name for name in self.space if name not in self.task_info.refuses]
        problems: Problems = [(("space", name), text) for name, text in self.space.idle_problems()]
        problems += [(("space", name), text) for name in known if (text := idle_strength(name, self.augmentation))]
        if self.pruner.name != "none" and self.max_steps == 1:
            text = "must be none: every trial has one evaluation; raise space.epochs or evaluations_per_epoch to prune"
            problems.append((("pruner", "name"), text))
        problems += configuration_problems(self.origin, self.space.vocabulary)
        return problems + grid_problems(self.sampler, self.space)

    @model_serializer(mode="wrap")
    def _as_it_was_stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the oldest semantics out: such specs, and digests of them, are what they were before it had a name."""
        document: dict[str, Any] = handler(self)
        if document.get("semantics") == OLDEST_SEMANTICS:
            del document["semantics"]
        return document

    @property
    def writing(self) -> Generation:
        """How its models write texts."""
        return self.generation or Generation(max_new_tokens=self.task_info.max_new_tokens)

    @property
    def answers_picked(self) -> Answering:
        """How its models pick answers."""
        return self.answering or Answering()

    def says_the_same(self, other: "StudySpec") -> bool:
        """Return whether another spec says the same in all that users write."""
        return self._with_pruner_in_use() == other.with_semantics(self.semantics)._with_pruner_in_use()

    def with_semantics(self, semantics: int) -> "StudySpec":
        """Return the spec with other semantics."""
        return self.model_copy(update={"semantics": semantics})

    def possible_trials(self, space: Space | None = None) -> Trials:
        """Return the trials that the search can have, for `prunable`; `space`: the spec's, resolved, once it is."""
        name = None if self.name == TEMPLATE_NAME else self.name
        if self.is_external:
            return trials_of_length(name, self.budget.trials, self.space, self.max_steps)
        defaults = self.task_info.baseline
        return trials_of(name, self.budget.trials, space or self.space, defaults, self.evaluations_per_epoch)

    def _can_prune(self) -> bool:
        """Return whether the pruner could end a trial; old trials, which nobody has counted yet, may let it."""
        return self.origin is not None or prunable_trials(self.pruner, self.possible_trials()) != 0

    def _with_pruner_in_use(self) -> "StudySpec":
        """Return the spec without its pruner where that can end no trial: then it says the same as one without."""
        return self if self._can_prune() else self.model_copy(update={"pruner": Pruner(name="none")})

    @property
    def is_external(self) -> bool:
        """Whether a trainer of the user's own asks for its trials; then it has no model and no data."""
        return self.task == EXTERNAL

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are searched, one or several; the baseline fine-tunes the first."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def task_info(self) -> Task:
        """The task's columns, metrics and baseline."""
        return TASKS.get(self.task, EXTERNAL_TASK)

    @property
    def maximize(self) -> bool:
        """True if a higher score is better."""
        return self.objective.direction == "maximize"

    @property
    def measures_lengths(self) -> bool:
        """Whether an inspection finds what `max_length: auto` stands for, which trial 0 begins with too."""
        if self.semantics >= LENGTH_AUTO or self.is_external:
            return self.task_info.has_lengths and not self.is_external
        d = self.space.root.get("max_length")
        return AUTO in (d if isinstance(d, tuple) else (d, getattr(d, "high", None)))

    def resolved_space(self, inspection: Inspection) -> Space:
        """Return the space with the numbers of an inspection in place of `auto`.

        Raises:
            ValidationError: The space does not fit the model.
        """
        return self.space.resolved(*inspection.depths, length=inspection.max_length)

    @property
    def max_steps(self) -> int:
        """Number of evaluations in the longest trial; of an external study its last step, in the user's own unit."""
        if self.is_external:
            return self.steps or ANY_LENGTH
        epochs = self.space.largest("epochs")
        if "epochs" not in self.space and self.semantics >= EPOCHS_OF_TASK:
            epochs = complete({}, self.task_info.baseline)["epochs"]  # the task's, as its trials have
        return int(epochs) * self.evaluations_per_epoch


def parse_spec(text: str, semantics: int = NEWEST_SEMANTICS) -> StudySpec:
    """Return a user's spec from YAML or JSON text, validated, with the newest semantics unless others are asked for.

    Semantics in the text are ignored: they come from a copy of what the service answered.

    Raises:
        ValueError: The spec is not valid; pydantic's ValidationError is one.
    """
    foreign = program_in(text)
    if foreign is not None:
        raise ValueError(foreign)
    document = mapping_of(text, "a spec is a mapping of keys: name, task, model, dataset, space, budget, ...")
    foreign = foreign_spec(document)
    if foreign is not None:
        raise ValueError(foreign)
    return StudySpec.model_validate({**document, "semantics": semantics})


def trial_seed(study_seed: int, number: int, again: int = 0) -> int:
    """Return the seed of a trial: the first 32 bits of SHA-256 over the study's seed and the trial's number.

    Args:
        study_seed: The spec's seed.
        number: The trial's number.
        again: 0 for the trial itself, n for its n-th repetition on a fresh seed.
    """
    text = f"{study_seed}/{number}" + (f"/{again}" if again else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def is_better(a: float, b: float, maximize: bool) -> bool:
    """Return whether score `a` is better than score `b`; a score that is not finite is never better."""
    return math.isfinite(a) and (a > b if maximize else a < b)
