"""How people use a packed model with transformers alone: the code on its card, and the same code as a check.

A task's `export` makes a `Usage`. `jobs.card` prints its code, and `jobs.fresh` runs its function in a new process. The
functions below with a docstring for users stand on cards as they are; they import nothing of this package.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = float | str  # a probability or another number, or a text
Values = Mapping[str, Value]  # name, such as a label -> value
Answer = Callable[[Any], Sequence[Values]]  # example -> the values of each of its units
PROCESSORS = {
    "tokenizer": "AutoTokenizer",
    "image_processor": "AutoImageProcessor",
    "feature_extractor": "AutoFeatureExtractor",
}
"""Argument of `pipeline` -> the auto class in transformers that loads it."""
HERE = "."  # the folder of the model, in the code on its card


@dataclass(frozen=True)
class Usage:
    """How a packed model is used.

    Attributes:
        tag: Its task as the hub and `transformers.pipeline` name it.
        auto: The name of its auto class in transformers.
        kind: The argument of `pipeline` that takes its processor: tokenizer, image_processor or feature_extractor.
        processor: Its processor, as it is saved with the model.
        names: The names of the values of an answer: the labels.
        code: Python code for its card, which runs in the model's folder.
        notes: Sentences below the code.
        function: The function of `FUNCTIONS` that does what the code does.
        options: That function's further arguments; values that JSON can write.
    """

    tag: str
    auto: str
    kind: str
    processor: Any
    names: tuple[str, ...]
    code: str
    notes: tuple[str, ...] = ()
    function: str = "pipeline"
    options: Mapping[str, Any] = field(default_factory=dict)


def call(tag: str, options: Mapping[str, Any]) -> str:
    """Return the call of `transformers.pipeline` that loads a model from its folder, as code."""
    return f"pipeline({', '.join([repr(tag), f'model={HERE!r}', *(f'{k}={v!r}' for k, v in options.items())])})"


def source(function: Callable[..., Any]) -> str:
    """Return a function's source for a card."""
    return inspect.getsource(function).rstrip()


def piped(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `transformers.pipeline` does.

    Args:
        model: The model, loaded from its folder.
        folder: The model's.
        tag: As in `Usage`.
        kind: As in `Usage`.
        options: The pipeline's further arguments.
    """
    import transformers

    make: Any = transformers.pipeline  # its overloads know no arguments by a variable's name
    processor = getattr(transformers, PROCESSORS[kind]).from_pretrained(folder, trust_remote_code=False)
    classify = make(tag, model=model, **{kind: processor}, **options)
    every = model.config.num_labels
    return lambda example: [{found["label"]: found["score"] for found in classify(example, top_k=every)}]


def tagged(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `tag_words` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda words: tag_words(words, tokenizer, model.eval(), **options)


def heard(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `hear` does; arguments as those of `piped`."""
    from transformers import AutoFeatureExtractor

    auto: Any = AutoFeatureExtractor
    extractor = auto.from_pretrained(folder, trust_remote_code=False)
    return lambda sound: [hear(sound, extractor, model.eval(), **options)]


def segmented(model: Any, folder: str, tag: str, kind: str) -> Answer:
    """Return the function that answers as `segment` does, averaged over pixels; arguments as those of `piped`."""
    from transformers import AutoImageProcessor

    auto: Any = AutoImageProcessor
    processor = auto.from_pretrained(folder, trust_remote_code=False)

    def answer(image: Any) -> list[Values]:
        means = segment(image, processor, model.eval()).double().mean((1, 2)).tolist()
        return [{model.config.id2label[k]: mean for k, mean in enumerate(means)}]

    return answer


FUNCTIONS: Mapping[str, Callable[..., Answer]] = {
    "pipeline": piped,
    "tag_words": tagged,
    "hear": heard,
    "segment": segmented,
}
"""Name -> the function (model, folder, tag, kind, options) that returns the function which answers to an example."""


def tag_words(words: list[str], tokenizer: Any, model: Any, space: str = "") -> list[dict[str, float]]:
    """Return the probability of each tag, for each word: that of the word's first token.

    A sentence that is too long for the model is read in parts, so that every word gets a tag.
    """
    import torch

    words = [space + word for word in words]
    for i, word in enumerate(words):
        if not tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]:
            words[i] = tokenizer.unk_token or "?"  # the tokenizer drops every character of this word
    parts = tokenizer(words, is_split_into_words=True, truncation=True, return_overflowing_tokens=True)
    names = [name for name in tokenizer.model_input_names if name in parts]
    tags, last = [], None
    for i in range(len(parts["input_ids"])):
        with torch.no_grad():
            logits = model(**{name: torch.tensor([parts[name][i]]) for name in names}).logits[0]
        for scores, word in zip(logits.softmax(-1).tolist(), parts.word_ids(i), strict=True):
            if word is not None and word != last:  # a word's first token
                tags.append({model.config.id2label[k]: score for k, score in enumerate(scores)})
                last = word
    return tags


def read_sound(file: str, rate: int, samples: int, least: int) -> Any:
    """Return the start of a sound as one channel at a sampling rate, (samples,) float32; a very short one is padded."""
    from fractions import Fraction

    import numpy
    import soundfile

    sound, own = soundfile.read(file, dtype="float32", always_2d=True)
    sound = sound.mean(1)
    if own != rate:
        import scipy.signal

        ratio = Fraction(rate, own).limit_denominator(2000)
        sound = scipy.signal.resample_poly(sound, ratio.numerator, ratio.denominator).astype("float32")
    return numpy.pad(sound[:samples], (0, max(0, least - len(sound[:samples]))))


def hear(sound: Any, extractor: Any, model: Any, samples: int) -> dict[str, float]:
    """Return the probability of each label for a sound, (samples,) float32, in the model's own window."""
    import torch

    rate = extractor.sampling_rate
    window = {"padding": "max_length", "max_length": samples, "truncation": True}
    inputs = extractor(sound, sampling_rate=rate, return_tensors="pt", **window)
    with torch.no_grad():
        scores = model(input_features=inputs["input_features"]).logits[0].softmax(-1).tolist()
    return {model.config.id2label[k]: score for k, score in enumerate(scores)}


def segment(image: Any, processor: Any, model: Any) -> Any:
    """Return the probability of each class for each pixel of an RGB image: (classes, height, width)."""
    import torch

    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=inputs["pixel_values"]).logits
    size = (image.height, image.width)
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].softmax(0)
