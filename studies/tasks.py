"""The tasks that can be fine-tuned: columns, metrics, and the baseline that is trial 0 of every study.

Specs are validated by them; the code that trains a task is in the workers, under the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.studies.hyperparameters import AUTO, Params


@dataclass(frozen=True)
class Metric:
    """A score on a data split.

    Attributes:
        name: Unique in a task.
        maximize: More is better.
        about: A sentence for people.
        binary: It is the share of units (examples, or words of them) that are right, and each is right or wrong.
    """

    name: str
    maximize: bool
    about: str
    binary: bool = False


@dataclass(frozen=True)
class Task:
    """A kind of fine-tuning; `columns` maps each role to (default column name, whether a data set must have it)."""

    name: str
    about: str
    columns: Mapping[str, tuple[str, bool]]
    metrics: tuple[Metric, ...]  # the first is the default objective
    baseline: Params  # the configuration a practitioner would try first; a max_length is that of the oldest semantics
    targets: str = "class"  # what it learns: a class a row, or tags (a class a word)
    refuses: Mapping[str, str] = field(default_factory=dict)  # hyperparameter without meaning here -> why, a sentence

    @property
    def has_lengths(self) -> bool:
        """Whether its inputs have a length, which max_length cuts."""
        return "max_length" not in self.refuses

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


_GROUP = {"group": ("group", False)}  # rows with the same value stay on one side of every split

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="text-classification",
            about="One label for a text or a pair of texts.",
            columns={"text": ("text", True), "text_pair": ("text_pair", False), "label": ("label", True), **_GROUP},
            metrics=(
                Metric("accuracy", True, "Fraction of examples labelled right.", binary=True),
                Metric("macro_f1", True, "Unweighted mean of the classes' F1 scores."),
                Metric("matthews", True, "Matthews correlation coefficient, multiclass (Gorodkin 2004)."),
                Metric(
                    "auc", True, "Area under the ROC curve; of more than two classes the mean over one-versus-rest."
                ),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            # The middle of the grid in Devlin et al. 2019, appendix A.3.
            baseline={"learning_rate": 5e-5, "batch_size": 32, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
        ),
        Task(
            name="token-classification",
            about="A tag for each word of a sentence, as for named entities.",
            columns={"tokens": ("tokens", True), "label": ("ner_tags", True), **_GROUP},
            targets="tags",
            metrics=(
                Metric("entity_f1", True, "Micro F1 over whole entities, as seqeval and conlleval count them."),
                Metric("token_accuracy", True, "Fraction of words tagged right.", binary=True),
                Metric("macro_f1", True, "Unweighted mean of the tags' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            # From the same grid; sentences hold many labels, so the smaller batch.
            baseline={"learning_rate": 5e-5, "batch_size": 16, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
        ),
        Task(
            name="image-classification",
            about="One label for an image.",
            columns={"image": ("image", True), "label": ("label", True), **_GROUP},
            metrics=(
                Metric("accuracy", True, "Fraction of examples labelled right.", binary=True),
                Metric("top5_accuracy", True, "Fraction of examples whose label is among the five most likely."),
                Metric("macro_f1", True, "Unweighted mean of the classes' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            baseline={"learning_rate": 2e-4, "batch_size": 32, "epochs": 5, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={"max_length": "has no meaning for images: the model's own processor resizes them; leave it out"},
        ),
        Task(
            name="audio-classification",
            about="One label for a sound.",
            columns={"audio": ("audio", True), "label": ("label", True), **_GROUP},
            metrics=(
                Metric("accuracy", True, "Fraction of examples labelled right.", binary=True),
                Metric("macro_f1", True, "Unweighted mean of the classes' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            # Lengths are milliseconds.
            baseline={
                "learning_rate": 1e-4,
                "batch_size": 16,
                "epochs": 8,
                "weight_decay": 0.01,
                "freeze_depth": 0,
                "max_length": 5000,
            },
        ),
    )
}
