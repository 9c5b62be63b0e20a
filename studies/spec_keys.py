"""The keys of a study's spec: their types, bounds, defaults and descriptions, each checked by itself.

`spec.py` makes a spec of them, `spec_problems.py` says which values do not suit each other. It must never import Optuna
or torch.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationInfo, WithJsonSchema, field_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticKnownError

from luthier.studies.augmentations import AugmentationName
from luthier.studies.best_of_study import BestOfStudy
from luthier.studies.budget import Budget, Confirm, Resources
from luthier.studies.dataset import Dataset
from luthier.studies.documents import Document, refuse
from luthier.studies.early_stopping import EarlyStopping
from luthier.studies.external import ANY_LENGTH, EXTERNAL, NO_DATASET, refused, with_external
from luthier.studies.external import TASK as EXTERNAL_TASK
from luthier.studies.hyperparameters import PROBE, complete
from luthier.studies.model_space import MODEL_SCHEMA, ModelsSpace, check_models
from luthier.studies.open_space import OpenSpace
from luthier.studies.origin import Origin
from luthier.studies.presets import PresetName
from luthier.studies.semantics import EPOCHS_OF_TASK, OLDEST_SEMANTICS
from luthier.studies.space import Space
from luthier.studies.strategy import Answering, Generation, Objective, Pruner, Sampler
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS

LATER_KEYS = ("early_stopping", "generation")  # keys of a study that older versions lacked; left out, they are None
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Precision = Literal["auto", "float32", "bfloat16"]
Quantization = Literal["none", "4bit"]
End = Literal["completed", "stopped", "cancelled", "failed"]
ENDS: tuple[End, ...] = get_args(End)


def _complete_schema(schema: dict[str, Any]) -> None:
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


class SpecKeys(Document):
    """The keys of a spec, and what follows from them without a look at how they suit each other.

    Attributes:
        semantics: Of which version defaults and ways of reading are (`semantics.py`). Users do not write it:
            `parse_spec` and `parse_schedule` set the newest. Stored specs without it have the oldest.
    """

    model_config = ConfigDict(
        json_schema_extra=_complete_schema, validate_by_name=False, validate_by_alias=True, serialize_by_alias=True
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
    # Written only where they are not the usual ones; so specs from before there were shares are written as they were.
    weight: FiniteFloat = Field(
        1.0,
        gt=0,
        le=1000,
        exclude_if=lambda weight: weight == 1,
        description="Share of the workers' time, beside other studies of its project and priority that have work.",
    )
    priority: int = Field(
        0,
        ge=-100,
        le=100,
        exclude_if=lambda priority: priority == 0,
        description="A higher one goes first, within a project; lower ones keep a small share.",
    )
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
    warm_start: BestOfStudy | None = Field(
        None,
        exclude_if=lambda warm: warm is None,
        description="Another study whose best configurations are run first, right after the baseline.",
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

    @property
    def is_external(self) -> bool:
        """Whether a trainer of the user's own asks for its trials; then it has no model and no data."""
        return self.task == EXTERNAL

    @property
    def takes_over(self) -> Origin | None:
        """The old trials that it begins with: those of `from`, or the configurations of `warm_start`."""
        return self.origin or (None if self.warm_start is None else self.warm_start.as_origin())

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
    def max_steps(self) -> int:
        """Number of evaluations in the longest trial; of an external study its last step, in the user's own unit."""
        if self.is_external:
            return self.steps or ANY_LENGTH
        if self.space.root.get("strategy") in (PROBE, (PROBE,)):
            return 1
        epochs = self.space.largest("epochs")
        if "epochs" not in self.space and self.semantics >= EPOCHS_OF_TASK:
            epochs = complete({}, self.task_info.baseline)["epochs"]  # the task's, as its trials have
        return int(epochs) * self.evaluations_per_epoch
