"""The tasks that can be fine-tuned: columns, metrics, and the baseline that is trial 0 of every study.

Specs are validated by them; the code that trains a task is in the workers, under the same name.
"""

from collections.abc import Mapping

from luthier.studies.augmentations import MIXED_IMAGES, SOUNDS, TEXTS, WORDS
from luthier.studies.task import Metric, Role, Task

_GROUP = {"group": Role("group", "group", required=False)}  # rows with the same value stay on one side of every split

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="text-classification",
            about="One label for a text or a pair of texts.",
            auto=("AutoModelForSequenceClassification",),
            classes="row",
            augmentations=TEXTS,
            columns={
                "text": Role("text"),
                "text_pair": Role("text_pair", required=False),
                "label": Role("label", "target"),
                **_GROUP,
            },
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
            auto=("AutoModelForTokenClassification",),
            classes="unit",
            augmentations=WORDS,
            columns={"tokens": Role("tokens", "words"), "label": Role("ner_tags", "target"), **_GROUP},
            metrics=(
                Metric("entity_f1", True, "Micro F1 over whole entities, as seqeval and conlleval count them."),
                Metric("token_accuracy", True, "Fraction of words tagged right.", binary=True),
                Metric("macro_f1", True, "Unweighted mean of the tags' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            # From the same grid; sentences hold many labels, so the smaller batch.
            baseline={"learning_rate": 5e-5, "batch_size": 16, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={"pooling": "has no meaning for words: each has an answer of its own; leave it out"},
        ),
        Task(
            name="image-classification",
            about="One label for an image.",
            auto=("AutoModelForImageClassification",),
            classes="row",
            augmentations=MIXED_IMAGES,
            columns={"image": Role("image", "image"), "label": Role("label", "target"), **_GROUP},
            metrics=(
                Metric("accuracy", True, "Fraction of examples labelled right.", binary=True),
                Metric("top5_accuracy", True, "Fraction of examples whose label is among the five most likely."),
                Metric("macro_f1", True, "Unweighted mean of the classes' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            baseline={"learning_rate": 2e-4, "batch_size": 32, "epochs": 5, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={
                "max_length": "has no meaning for images: the model's own processor resizes them; leave it out",
                "pooling": "has no meaning for images: their models have one pooling; leave it out",
            },
        ),
        Task(
            name="audio-classification",
            about="One label for a sound.",
            auto=("AutoModelForAudioClassification",),
            classes="row",
            augmentations=SOUNDS,
            columns={"audio": Role("audio", "audio"), "label": Role("label", "target"), **_GROUP},
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
            refuses={"pooling": "has no meaning for sounds: their models have one pooling; leave it out"},
        ),
    )
}
