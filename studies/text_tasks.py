"""The entries of the tasks on text: a label, a number, tags, an answer, or a text that a model writes.

`tasks.py` lists them.
"""

from luthier.studies.augmentations import TEXTS, WORDS
from luthier.studies.hyperparameters import Params
from luthier.studies.task import Metric, Role, Task
from luthier.studies.task_parts import (
    ACCURACY,
    CLASS_LOSS,
    GROUP,
    LABEL_SET_METRICS,
    MACRO_F1,
    NUMBER_METRICS,
    ONE_POOLING,
    ONLY_NUMBERS,
)

_WRITTEN_STEP_BY_STEP = (
    "its models write token by token, from a memory that grows, and an ONNX file of torch's exporter is one pass"
)
_TEXT = {
    "text": Role("text"),
    "text_pair": Role("text_pair", required=False),
    "label": Role("label", "target"),
    **GROUP,
}
# The middle of the grid in Devlin et al. 2019, appendix A.3.
_BASELINE: Params = {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0}
_ONLY_TEXTS = {
    "class_weighting": "has no meaning where texts are learned: there are no classes; leave it out",
    **ONE_POOLING,
}

TEXT_TASKS = (
    Task(
        name="text-classification",
        about="One label for a text or a pair of texts.",
        auto=("AutoModelForSequenceClassification",),
        classes="row",
        augmentations=TEXTS,
        columns=_TEXT,
        metrics=(
            ACCURACY,
            MACRO_F1,
            Metric("matthews", True, "Matthews correlation coefficient, multiclass (Gorodkin 2004)."),
            Metric("auc", True, "Area under the ROC curve; of more than two classes the mean over one-versus-rest."),
            CLASS_LOSS,
        ),
        baseline=_BASELINE,
    ),
    Task(
        name="token-classification",
        about="A tag for each word of a sentence, as for named entities.",
        auto=("AutoModelForTokenClassification",),
        classes="unit",
        augmentations=WORDS,
        columns={"tokens": Role("tokens", "words"), "label": Role("ner_tags", "target"), **GROUP},
        metrics=(
            Metric(
                "entity_f1",
                True,
                "Micro F1 over whole entities, as seqeval and conlleval count them.",
                needs="of all labels and entities",
            ),
            Metric("token_accuracy", True, "Fraction of words tagged right.", binary=True),
            Metric("macro_f1", True, "Unweighted mean of the tags' F1 scores."),
            CLASS_LOSS,
        ),
        # From the same grid; sentences hold many labels, so the smaller batch.
        baseline={"learning_rate": 5e-5, "batch_size": 16, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 0},
        refuses=ONE_POOLING,
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
            **GROUP,
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
            **ONE_POOLING,
        },
    ),
    Task(
        name="text-regression",
        about="A number for a text or a pair of texts.",
        auto=("AutoModelForSequenceClassification",),
        columns=_TEXT,
        metrics=NUMBER_METRICS,
        baseline=_BASELINE,
        augmentations=TEXTS,
        refuses=ONLY_NUMBERS,
    ),
    Task(
        name="text-multilabel-classification",
        about="Any number of labels for a text or a pair of texts.",
        auto=("AutoModelForSequenceClassification",),
        columns=_TEXT,
        metrics=LABEL_SET_METRICS,
        baseline=_BASELINE,
        augmentations=TEXTS,
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
            **GROUP,
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
        columns={"source": Role("source"), "target": Role("target", "target"), **GROUP},
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
)
