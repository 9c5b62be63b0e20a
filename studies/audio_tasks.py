"""The entries of the tasks on sounds: a label, labels, a number, or the words of a recording.

`tasks.py` lists them.
"""

from luthier.studies.augmentations import SOUNDS, SPEECH
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

_AUDIO = {"audio": Role("audio", "audio"), "label": Role("label", "target"), **GROUP}
_BASELINE: Params = {
    "learning_rate": 1e-4,
    "batch_size": 16,
    "epochs": 8,
    "weight_decay": 0.01,
    "freeze_depth": 0,
    "max_length": 5000,  # milliseconds
}

AUDIO_TASKS = (
    Task(
        name="audio-classification",
        about="One label for a sound.",
        auto=("AutoModelForAudioClassification",),
        classes="row",
        augmentations=SOUNDS,
        columns={"audio": Role("audio", "audio"), "label": Role("label", "target"), **GROUP},
        metrics=(ACCURACY, MACRO_F1, CLASS_LOSS),
        baseline=_BASELINE,
        refuses=ONE_POOLING,
    ),
    Task(
        name="audio-regression",
        about="A number for a sound.",
        auto=("AutoModelForAudioClassification",),
        columns=_AUDIO,
        metrics=NUMBER_METRICS,
        baseline=_BASELINE,
        augmentations=SOUNDS,
        refuses=ONLY_NUMBERS | ONE_POOLING,
    ),
    Task(
        name="audio-multilabel-classification",
        about="Any number of labels for a sound.",
        auto=("AutoModelForAudioClassification",),
        columns=_AUDIO,
        metrics=LABEL_SET_METRICS,
        baseline=_BASELINE,
        augmentations=SOUNDS,
        refuses=ONE_POOLING,
        label_sets=True,
    ),
    Task(
        name="automatic-speech-recognition",
        about="The words of a recording.",
        auto=("AutoModelForCTC", "AutoModelForSpeechSeq2Seq"),
        columns={"audio": Role("audio", "audio"), "text": Role("text", "target"), **GROUP},
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
            **ONE_POOLING,
        },
        max_new_tokens=224,
        augmentations=SPEECH,
    ),
)
