"""The augmentations that a spec can name: what each does to a training input, and its strength.

Specs are validated by them, with the names that a task has. The code that changes inputs is in the workers.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

AugmentationName = Literal[
    "none",
    "standard",
    "trivial",
    "mixup",
    "cutmix",
    "token_dropout",
    "masking",
    "noise",
    "time_shift",
    "spec_augment",
]
IMAGES = ("standard", "trivial")
MIXED_IMAGES = (*IMAGES, "mixup", "cutmix")
MEASURED_IMAGES = (*IMAGES, "mixup")
"""Of images with a number each, of which a part of an image has no share."""
TEXTS = ("token_dropout", "masking")
WORDS = ("masking",)
SOUNDS = ("noise", "time_shift", "spec_augment", "mixup")
SPEECH = ("noise", "spec_augment")
"""Of sounds whose words are learned: a shift would cut some off, and of two mixed sounds no transcript is true."""
MIXTURES = ("mixup", "cutmix")
"""Of the examples of a batch with each other."""
STRENGTHS = {
    "augmentation_rate": (*TEXTS, "time_shift", "spec_augment"),
    "mixup_alpha": MIXTURES,
}
"""Hyperparameter -> the augmentations whose strength it is."""


@dataclass(frozen=True)
class Augmentation:
    """An augmentation.

    Attributes:
        name: As a spec has it.
        about: What it does to a training input, as a sentence.
        strength: The hyperparameter of its strength, if there is one.
    """

    name: str
    about: str
    strength: str | None = None


_ABOUT = {
    "none": "Inputs stay as they are.",
    "standard": "A random part of an image, resized, and mirrored half of the time.",
    "trivial": "As standard, then one random operation (TrivialAugment).",
    "mixup": "Each image (changed as by standard) or sound is the weighted mean of two, and so is its target.",
    "cutmix": "As standard, then a box of each image comes from another one; what is learned is weighted by area.",
    "token_dropout": "Some tokens of a text are left out.",
    "masking": "Some tokens of a text are masked.",
    "noise": "White noise, 10 to 30 dB below the sound.",
    "time_shift": "A sound begins earlier or later; silence fills the gap.",
    "spec_augment": "Bands of time and of frequency of a spectrum are blanked (SpecAugment).",
}
AUGMENTATIONS = {
    name: Augmentation(name, _ABOUT[name], next((h for h, names in STRENGTHS.items() if name in names), None))
    for name in get_args(AugmentationName)
}


def augmentation_problem(task: str, possible: Collection[str], name: str) -> str | None:
    """Return why an augmentation does not suit a task, with those that do; None if it does.

    Args:
        task: The task's name.
        possible: Names of its augmentations, without "none".
        name: What the spec has.
    """
    if name == "none" or name in possible:
        return None
    if not possible:
        return f"must be none: {task} has no augmentations"
    return f"must be none, {alternatives(possible)}: those suit the inputs and targets of {task}"


def idle_strength(hyperparameter: str, augmentation: str) -> str | None:
    """Return why a hyperparameter changes nothing with this augmentation, with the cure; None if it does."""
    names = STRENGTHS.get(hyperparameter)
    if names is None or augmentation in names:
        return None
    choices = alternatives(names)
    return f"changes nothing with augmentation: {augmentation}; it is for {choices}. Choose one, or leave it out"


def alternatives(names: Collection[str]) -> str:
    """Return names as words of a sentence: "noise, time_shift or mixup"."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
