"""What the service knows of a task: its columns, metrics, and the baseline that is trial 0 of every study.

`tasks` has an entry of this kind for each task.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from luthier.studies.augmentations import IMAGES, STRENGTHS
from luthier.studies.hyperparameters import AUTO, Params

NO_CLASSES = "has no meaning: no class of a row is learned; leave it out"
NO_SINGLE_CLASS = (
    "has no meaning: a row has any number of labels, so no draw has as many of each; leave it out, and take "
    "class_weighting or focal_gamma"
)


@dataclass(frozen=True)
class Metric:
    """A score on a data split.

    Attributes:
        name: Unique in a task.
        maximize: More is better.
        about: A sentence for people.
        binary: It is the share of units (examples, or words of them) that are right, and each is right or wrong.
        generated: It is of texts that the model writes, token by token, which costs more than a pass: it is measured
            on the winner, and at each evaluation only where it is the objective.
        needs: The rows that a split of the task's data needs, so that this metric tells good answers from bad ones, as
            the end of "rows ..."; "": of all labels.
    """

    name: str
    maximize: bool
    about: str
    binary: bool = False
    generated: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Role:
    """What a column of the data is for.

    Attributes:
        column: The column's name where a spec gives none.
        reads: How its values are read: text, words, image, audio; group; target, by the task's own targets; or by
            a name of the targets' own `readers`.
        required: The data must have the column; others are read where a spec names them.
    """

    column: str
    reads: str = "text"
    required: bool = True


@dataclass(frozen=True)
class Task:
    """A kind of fine-tuning.

    Attributes:
        name: As the hub's pipeline tags have it, where there is one. The workers' code has the same name.
        about: A sentence for people.
        auto: The names of the auto classes in transformers that load its models; the first that knows a model does.
        columns: Role -> its column.
        metrics: The first is the default objective.
        baseline: The configuration a practitioner would try first; a max_length is that of the oldest semantics.
        refuses: Hyperparameter without meaning here -> why, a sentence; without classes, those of classes too.
        label_sets: A row has any number of labels: a list, or a text that `dataset.label_separator` takes apart.
        alternatives: Sets of roles of which the data has one, none of them required by itself; () where there is no
            choice. A spec chooses by the columns that it names, else the data by those that it has.
        max_new_tokens: The most tokens that a model writes where a spec says nothing of it.
        classes: What has one class each: a row, a unit of a row (a word), or nothing.
        augmentations: Names of augmentations; None: those of images for a task with images, else none.
        no_onnx: Why no winner of it becomes an ONNX file, as a sentence; "": its models can.
    """

    name: str
    about: str
    auto: tuple[str, ...]
    columns: Mapping[str, Role]
    metrics: tuple[Metric, ...]
    baseline: Params
    refuses: Mapping[str, str] = field(default_factory=dict)
    label_sets: bool = False
    alternatives: tuple[tuple[str, ...], ...] = ()
    max_new_tokens: int = 64
    classes: Literal["row", "unit"] | None = None
    augmentations: tuple[str, ...] | None = None
    no_onnx: str = ""

    def __post_init__(self) -> None:
        """Refuse the hyperparameters of classes where no classes are learned, and those of augmentations it lacks."""
        refuses: dict[str, str] = {}
        if self.classes is None:
            refuses["sampling"] = NO_SINGLE_CLASS if self.label_sets else NO_CLASSES
            if not self.label_sets:
                refuses["focal_gamma"] = NO_CLASSES
        if not self.label_sets:
            refuses["threshold"] = f"has no meaning for {self.name}; leave it out"
        if self.classes == "unit":
            refuses["sampling"] = "has no meaning for words: a row has words of many classes; leave it out"
        for name, augmentations in STRENGTHS.items():
            if not set(augmentations) & set(self.augmentation_names):
                refuses[name] = "has no meaning: it is for augmentations that this task does not have; leave it out"
        object.__setattr__(self, "refuses", refuses | dict(self.refuses))

    def choices(self, named: Collection[str]) -> list[dict[str, str]]:
        """Return what the data may be: for each possible set of roles, role -> its default column.

        Args:
            named: Roles whose columns a spec names. An optional role is left out unless it is named.

        Returns:
            One for a task without alternatives; none where the named roles belong to different alternatives.
        """
        needed = {name: role.column for name, role in self.columns.items() if role.required or name in named}
        apart = {name for roles in self.alternatives for name in roles}
        common = {name: column for name, column in needed.items() if name not in apart}
        chosen = [roles for roles in self.alternatives or ((),) if apart.intersection(named) <= set(roles)]
        return [common | {name: self.columns[name].column for name in roles} for roles in chosen]

    @property
    def told_alternatives(self) -> str:
        """The sets of roles in words: "text; or prompt and completion"."""
        return "; or ".join(" and ".join(roles) for roles in self.alternatives)

    @property
    def has_linear_head(self) -> bool:
        """Whether each of its answers comes from one vector by a linear layer: classes, labels or a number."""
        return self.name.endswith(("classification", "regression"))

    @property
    def has_lengths(self) -> bool:
        """Whether its inputs have a length, which max_length cuts."""
        return "max_length" not in self.refuses

    @property
    def augmentation_names(self) -> tuple[str, ...]:
        """Its augmentations; none but those listed, and for a task with images those that leave targets as they are."""
        if self.augmentations is not None:
            return self.augmentations
        return IMAGES if any(role.reads == "image" for role in self.columns.values()) else ()

    @property
    def shown_baseline(self) -> Params:
        """The baseline of new studies, as people would write it."""
        return {**self.baseline, "max_length": AUTO} if self.has_lengths else self.baseline

    def metric(self, name: str) -> Metric | None:
        """Return the task's metric of this name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def is_binary(self, name: str) -> bool:
        """Return whether the task's metric of this name is the share of units that are right."""
        return any(metric.binary for metric in self.metrics if metric.name == name)

    @property
    def media(self) -> str | None:
        """The role of images or sounds, or None."""
        return next((role for role, read in self.columns.items() if read.reads in ("image", "audio")), None)

    @property
    def generates(self) -> bool:
        """Whether its models write texts."""
        return any(metric.generated for metric in self.metrics)

    @property
    def answers_questions(self) -> bool:
        """Whether its models pick answers from contexts."""
        return "answers" in self.columns

    def is_generated(self, name: str) -> bool:
        """Return whether the task's metric of this name is of texts that the model writes."""
        return any(metric.generated for metric in self.metrics if metric.name == name)
