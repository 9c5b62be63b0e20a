"""The tasks that can be fine-tuned: columns, metrics, and the baseline that is trial 0 of every study.

Specs are validated by them; the code that trains a task is in the workers, under the same name.
"""

from collections.abc import Mapping

from luthier.studies.augmentations import MEASURED_IMAGES, MIXED_IMAGES, SOUNDS, TEXTS, WORDS
from luthier.studies.hyperparameters import Params
from luthier.studies.task import Metric, Role, Task

_ONE_POOLING = {"pooling": "has no meaning here: the task's models have one pooling; leave it out"}
_NO_LENGTH = {
    "max_length": "has no meaning for images: the model's own processor resizes them; leave it out",
    **_ONE_POOLING,
}
_ONLY_NUMBERS = {
    "label_smoothing": "has no meaning: numbers are learned, no classes; leave it out",
    "class_weighting": "has no meaning: numbers are learned, no classes; leave it out",
}
_ONLY_TEXTS = {
    "class_weighting": "has no meaning where texts are learned: there are no classes; leave it out",
    **_ONE_POOLING,
}
_WRITTEN_STEP_BY_STEP = (
    "its models write token by token, from a memory that grows, and an ONNX file of torch's exporter is one pass"
)
_BOXES = (
    "what is a box, and where it lies in an image, is worked out of its models' outputs by code that no ONNX file "
    "holds, and some of its models choose places by shapes that depend on the data"
)
_NUMBERS = (
    Metric(
        "pearson",
        True,
        "Pearson's correlation; undefined where all answers, or all numbers, are the same.",
        needs="of different numbers",
    ),
    Metric("spearman", True, "Spearman's rank correlation; undefined where all answers, or all numbers, are the same."),
    Metric("mse", False, "Mean squared error, in the data's units squared."),
    Metric("mae", False, "Mean absolute error, in the data's units."),
    Metric("r2", True, "Share of the variance that is explained: 1 is perfect, 0 is always answering the mean."),
    Metric("loss", False, "Mean squared error by the variance of the training numbers."),
)
_LABEL_SETS = (
    Metric("micro_f1", True, "F1 over all pairs of an example and a label."),
    Metric("macro_f1", True, "Unweighted mean of the labels' F1 scores."),
    Metric("map", True, "Mean over labels of the average precision of examples ranked by probability."),
    Metric("subset_accuracy", True, "Fraction of examples all of whose labels are right."),
    Metric("loss", False, "Mean binary cross-entropy over examples and labels, without label smoothing or weights."),
)
_TEXT = {"text": Role("text"), "text_pair": Role("text_pair", required=False), "label": Role("label", "target")}
_IMAGE = {"image": Role("image", "image"), "label": Role("label", "target")}
_AUDIO = {"audio": Role("audio", "audio"), "label": Role("label", "target")}
# Those of the classifications of the same inputs.
_OF_TEXT: Params = {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0}
_OF_IMAGE: Params = {"learning_rate": 2e-4, "batch_size": 32, "epochs": 5, "weight_decay": 0.01, "freeze_depth": 0}
_OF_AUDIO: Params = {
    **{"learning_rate": 1e-4, "batch_size": 16, "epochs": 8, "weight_decay": 0.01, "freeze_depth": 0},
    "max_length": 5000,  # milliseconds
}
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
                Metric(
                    "entity_f1",
                    True,
                    "Micro F1 over whole entities, as seqeval and conlleval count them.",
                    needs="of all labels and entities",
                ),
                Metric("token_accuracy", True, "Fraction of words tagged right.", binary=True),
                Metric("macro_f1", True, "Unweighted mean of the tags' F1 scores."),
                Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights."),
            ),
            # From the same grid; sentences hold many labels, so the smaller batch.
            baseline={"learning_rate": 5e-5, "batch_size": 16, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
            refuses=_ONE_POOLING,
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
            refuses=_NO_LENGTH,
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
            refuses=_ONE_POOLING,
        ),
        Task(
            name="question-answering",
            about="The part of a text that answers a question, or that there is none.",
            auto=("AutoModelForQuestionAnswering",),
            columns={
                "question": Role("question"),
                "context": Role("context"),
                "answers": Role("answers", "target"),
                "answer_start": Role("answer_start", "target", required=False),
                **_GROUP,
            },
            metrics=(
                Metric("f1", True, "Mean F1 of the answers' words, as the official SQuAD script counts them."),
                Metric("exact_match", True, "Fraction of questions answered right, by the same script.", binary=True),
                Metric(
                    "no_answer_accuracy",
                    True,
                    "Fraction of the questions without an answer that get none.",
                    needs="with and without an answer",
                ),
                Metric("loss", False, "Mean cross-entropy of the answers' first and last tokens."),
            ),
            # As run_qa.py of transformers has it for SQuAD, with a somewhat larger batch.
            baseline={"learning_rate": 3e-5, "batch_size": 16, "epochs": 2, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={
                "class_weighting": "has no meaning for answers, which are places in a text; leave it out",
                "label_smoothing": "has no meaning for answers, which are places in a text; leave it out",
                **_ONE_POOLING,
            },
        ),
        Task(
            name="text-regression",
            about="A number for a text or a pair of texts.",
            auto=("AutoModelForSequenceClassification",),
            columns={**_TEXT, **_GROUP},
            metrics=_NUMBERS,
            baseline=_OF_TEXT,
            augmentations=TEXTS,
            refuses=_ONLY_NUMBERS,
        ),
        Task(
            name="image-regression",
            about="A number for an image.",
            auto=("AutoModelForImageClassification",),
            columns={**_IMAGE, **_GROUP},
            metrics=_NUMBERS,
            baseline=_OF_IMAGE,
            augmentations=MEASURED_IMAGES,
            refuses=_ONLY_NUMBERS | _NO_LENGTH,
        ),
        Task(
            name="audio-regression",
            about="A number for a sound.",
            auto=("AutoModelForAudioClassification",),
            columns={**_AUDIO, **_GROUP},
            metrics=_NUMBERS,
            baseline=_OF_AUDIO,
            augmentations=SOUNDS,
            refuses=_ONLY_NUMBERS | _ONE_POOLING,
        ),
        Task(
            name="text-multilabel-classification",
            about="Any number of labels for a text or a pair of texts.",
            auto=("AutoModelForSequenceClassification",),
            columns={**_TEXT, **_GROUP},
            metrics=_LABEL_SETS,
            baseline=_OF_TEXT,
            augmentations=TEXTS,
            label_sets=True,
        ),
        Task(
            name="image-multilabel-classification",
            about="Any number of labels for an image.",
            auto=("AutoModelForImageClassification",),
            columns={**_IMAGE, **_GROUP},
            metrics=_LABEL_SETS,
            baseline=_OF_IMAGE,
            augmentations=MIXED_IMAGES,
            refuses=_NO_LENGTH,
            label_sets=True,
        ),
        Task(
            name="audio-multilabel-classification",
            about="Any number of labels for a sound.",
            auto=("AutoModelForAudioClassification",),
            columns={**_AUDIO, **_GROUP},
            metrics=_LABEL_SETS,
            baseline=_OF_AUDIO,
            augmentations=SOUNDS,
            refuses=_ONE_POOLING,
            label_sets=True,
        ),
        Task(
            name="text-generation",
            about="A continuation: of a text, an answer to a prompt, or the next message of a conversation.",
            auto=("AutoModelForCausalLM",),
            no_onnx=_WRITTEN_STEP_BY_STEP,
            columns={
                "text": Role("text", required=False),
                "prompt": Role("prompt", required=False),
                "completion": Role("completion", "target", required=False),
                "messages": Role("messages", "messages", required=False),
                **_GROUP,
            },
            alternatives=(("text",), ("prompt", "completion"), ("messages",)),
            metrics=(
                Metric("loss", False, "Mean negative log-likelihood of a learned token, without label smoothing."),
                Metric("perplexity", False, "The exponential of the loss."),
                Metric("token_accuracy", True, "Fraction of the learned tokens that are the most likely ones."),
                Metric(
                    "exact_match",
                    True,
                    "Fraction of examples whose written answer is the right one, apart from white space around it.",
                    binary=True,
                    generated=True,
                ),
            ),
            # Common for full fine-tuning of language models of up to some billion parameters (as in Alpaca, 2023).
            baseline={"learning_rate": 2e-5, "batch_size": 16, "epochs": 3, "weight_decay": 0.0, "freeze_depth": 0},
            refuses=_ONLY_TEXTS,
        ),
        Task(
            name="text2text-generation",
            about="A text written from another: a translation, a summary.",
            auto=("AutoModelForSeq2SeqLM",),
            no_onnx=_WRITTEN_STEP_BY_STEP,
            columns={"source": Role("source"), "target": Role("target", "target"), **_GROUP},
            metrics=(
                Metric("loss", False, "Mean negative log-likelihood of a target's token, without label smoothing."),
                Metric("perplexity", False, "The exponential of the loss."),
                Metric("token_accuracy", True, "Fraction of the targets' tokens that are the most likely ones."),
                Metric("chrf", True, "chrF of the written texts, 0 to 100, as sacrebleu counts it.", generated=True),
                Metric("bleu", True, "BLEU of the written texts, 0 to 100, as sacrebleu counts it.", generated=True),
                Metric("rouge_l", True, "Mean F1 of ROUGE-L of the written texts, 0 to 1.", generated=True),
                Metric(
                    "exact_match",
                    True,
                    "Fraction of examples whose written text is the right one, apart from white space around it.",
                    binary=True,
                    generated=True,
                ),
            ),
            # The middle of what Raffel et al. 2020 and Lewis et al. 2020 fine-tune with, as AdamW steps.
            baseline={"learning_rate": 1e-4, "batch_size": 16, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
            refuses=_ONLY_TEXTS,
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
                **_ONE_POOLING,
            },
            max_new_tokens=224,
        ),
        Task(
            name="image-segmentation",
            about="A class for each pixel of an image.",
            auto=("AutoModelForSemanticSegmentation",),
            columns={"image": Role("image", "image"), "mask": Role("mask", "target"), **_GROUP},
            metrics=(
                Metric("mean_iou", True, "Mean over classes of their intersection over union, over all pixels."),
                Metric("pixel_accuracy", True, "Fraction of pixels whose class is right."),
                Metric("loss", False, "Mean cross-entropy of pixels, without label smoothing or class weights."),
            ),
            baseline={"learning_rate": 2e-4, "batch_size": 8, "epochs": 10, "weight_decay": 0.01, "freeze_depth": 0},
            refuses={
                "max_length": "has no meaning for images: the model's own processor resizes them; leave it out",
                "pooling": "has no meaning for pixels: each has an answer of its own; leave it out",
            },
        ),
        Task(
            name="object-detection",
            about="A box and a class for each object of an image.",
            auto=("AutoModelForObjectDetection",),
            no_onnx=_BOXES,
            columns={"image": Role("image", "image"), "objects": Role("objects", "target"), **_GROUP},
            metrics=(
                Metric(
                    "map",
                    True,
                    "Mean average precision over classes and overlaps from 0.5 to 0.95, as COCO's script counts it.",
                    needs="with objects",
                ),
                Metric("map_50", True, "Mean average precision at an overlap of 0.5.", needs="with objects"),
                Metric("map_75", True, "Mean average precision at an overlap of 0.75.", needs="with objects"),
                Metric("mar_100", True, "Mean recall over classes and overlaps, of 100 answers.", needs="with objects"),
                Metric("loss", False, "Mean over images of the model's own loss."),
            ),
            baseline={"learning_rate": 1e-4, "batch_size": 8, "epochs": 20, "weight_decay": 1e-4, "freeze_depth": 0},
            refuses={
                "max_length": "has no meaning for images: the model's own processor resizes them; leave it out",
                "pooling": "has no meaning for boxes: each has an answer of its own; leave it out",
                "label_smoothing": "has no meaning for boxes: the model's own loss is used; leave it out",
                "class_weighting": "has no meaning for boxes: the model's own loss is used; leave it out",
            },
            augmentations=("standard",),
        ),
    )
}
