"""The tasks that can be fine-tuned: columns, metrics, and the baseline that is trial 0 of every study.

Specs are validated by them; the code that trains a task is in the workers, under the same name.
"""

from collections.abc import Mapping

from luthier.studies.task import Metric, Role, Task

_GROUP = {"group": Role("group", "group", required=False)}  # rows with the same value stay on one side of every split

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="text-classification",
            about="One label for a text or a pair of texts.",
            auto=("AutoModelForSequenceClassification",),
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
            columns={"tokens": Role("tokens", "words"), "label": Role("ner_tags", "target"), **_GROUP},
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
            auto=("AutoModelForImageClassification",),
            columns={"image": Role("image", "image"), "label": Role("label", "target"), **_GROUP},
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
            auto=("AutoModelForAudioClassification",),
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
        ),
        Task(
            name="automatic-speech-recognition",
            about="The words of a recording.",
            auto=("AutoModelForCTC", "AutoModelForSpeechSeq2Seq"),
            columns={"audio": Role("audio", "audio"), "text": Role("text", "target"), **_GROUP},
            metrics=(
                Metric("wer", False, "Word error rate: wrong, missing and further words by all words.", generated=True),
                Metric("cer", False, "Character error rate: the same for letters, blanks included.", generated=True),
                Metric("loss", False, "CTC loss by letters; of a model that writes tokens, their mean cross-entropy."),
            ),
            # The rate and the epochs of the example for CTC in transformers on one GPU, on a small set.
            baseline={"learning_rate": 3e-4, "batch_size": 16, "epochs": 15, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={
                "max_length": "has no meaning here: a sound that is cut does not fit its transcript; leave it out, and "
                "divide long recordings",
                "label_smoothing": "has no meaning here: the CTC loss has none; leave it out",
                "class_weighting": "has no meaning here: nothing is classified; leave it out",
            },
            max_new_tokens=224,
        ),
    )
}
