"""How people use a packed model with transformers alone: the code on its card, and the same code as a check.

A task's `export` makes a `Usage`. `jobs.card` prints its code, and `jobs.fresh` runs its function in a new process. The
functions below with a docstring for users stand on cards as they are; they import nothing of this package.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.trials.tasks.windows import answer_question

Value = float | str | None  # a probability or another number, or a text; None: too close to tell, not compared
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
        kind: The argument of `pipeline` that takes its processor: tokenizer, image_processor or feature_extractor; or
            processor, where it is several of them.
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


@dataclass(frozen=True)
class Reading:
    """How an answer is read from what a pipeline gives; what the input is does not matter.

    Attributes:
        verb: The name of the pipeline in the code on a card.
        apply: What makes values of the model's logits: softmax, sigmoid or none, as pipelines name it; "": their own.
        shown: An expression of the answer; `{answer}` stands for the pipeline's, a list of a label and a score each.
        notes: Sentences below the code.
        setting: A statement between the pipeline and the answer.
    """

    verb: str = "classify"
    apply: str = ""
    shown: str = "{answer}"
    notes: tuple[str, ...] = ()
    setting: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `pipeline`."""
        return {"function_to_apply": self.apply} if self.apply else {}

    def code(self, example: str, outputs: int) -> str:
        """Return the statements that print the answer to an example; all `outputs` of the model are asked for."""
        every = f", top_k={outputs}" if self.apply else ""
        shown = self.shown.format(answer=f"{self.verb}({example}{every})")
        return "\n".join(filter(None, (self.setting, f"print({shown})")))


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


def read_losses(model: Any, folder: str, tag: str, kind: str, tokens: int) -> Answer:
    """Return the function that answers as `text_losses` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda text: [{"loss": loss} for loss in text_losses(text, tokenizer, model.eval(), tokens)]


def continued(model: Any, folder: str, tag: str, kind: str, longest: int, **options: Any) -> Answer:
    """Return the function that writes as `transformers.pipeline` does, and tells the loss of a completion.

    An example has a `prompt`, a text or a conversation, and the tokens of the completion (`learned`); other arguments
    are those of `piped`, and `longest`: the tokens of the longest row.
    """
    import torch
    import transformers

    make: Any = transformers.pipeline
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    write = make(tag, model=model, tokenizer=tokenizer, **options)

    def answer(example: Any) -> list[dict[str, Value]]:
        prompt, learned = example["prompt"], example["learned"]
        cut = {"truncation": True, "max_length": max(1, longest - len(learned))}
        if isinstance(prompt, list):
            chat = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            read = tokenizer(chat, add_special_tokens=False, **cut)["input_ids"]
        else:
            read = tokenizer(prompt, **cut)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*read, *learned]])).logits[0, len(read) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(learned))
        return [{"loss": float(loss), "text": write(prompt)[0]["generated_text"].strip()}]

    return answer


def rewritten(model: Any, folder: str, tag: str, kind: str) -> Answer:
    """Return the function that answers as `rewrite` does, and tells the loss of a target.

    An example has a `source`, and the tokens of the target (`learned`); arguments are those of `piped`.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def answer(example: Any) -> list[dict[str, Value]]:
        read = tokenizer(example["source"], truncation=True, return_tensors="pt")
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            loss = model.eval()(**inputs, labels=torch.tensor([example["learned"]])).loss
        return [{"loss": float(loss), "text": rewrite(example["source"], tokenizer, model)}]

    return answer


def asked(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `answer_question` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda example: [answer_question(**example, tokenizer=tokenizer, model=model.eval(), **options)]


def transcribed(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that writes what is said as `transformers.pipeline` does; arguments as those of `piped`."""
    import transformers

    make: Any = transformers.pipeline
    parts = {part: getattr(transformers, PROCESSORS[part]) for part in ("tokenizer", "feature_extractor")}
    loaded = {part: auto.from_pretrained(folder, trust_remote_code=False) for part, auto in parts.items()}
    recognise = make(tag, model=model, **loaded, **options)
    return lambda sound: [{"text": recognise(sound)["text"].strip()}]


FUNCTIONS: Mapping[str, Callable[..., Answer]] = {
    "pipeline": piped,
    "tag_words": tagged,
    "hear": heard,
    "segment": segmented,
    "answer_question": asked,
    "text_losses": read_losses,
    "written": continued,
    "rewritten": rewritten,
    "transcribe": transcribed,
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


def read_sound(file: str, rate: int, samples: int | None, least: int) -> Any:
    """Return a sound, or its start, as one channel at a sampling rate, (samples,) float32, padded if very short."""
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


def hear(sound: Any, extractor: Any, model: Any, samples: int, apply: str = "softmax") -> dict[str, float]:
    """Return the score of each label for a sound, (samples,) float32, in the model's own window."""
    import torch

    rate = extractor.sampling_rate
    window = {"padding": "max_length", "max_length": samples, "truncation": True}
    inputs = extractor(sound, sampling_rate=rate, return_tensors="pt", **window)
    with torch.no_grad():
        logits = model(input_features=inputs["input_features"]).logits[0]
    scores = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}[apply].tolist()
    return {model.config.id2label[k]: score for k, score in enumerate(scores)}


def segment(image: Any, processor: Any, model: Any) -> Any:
    """Return the probability of each class for each pixel of an RGB image: (classes, height, width)."""
    import torch

    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=inputs["pixel_values"]).logits
    size = (image.height, image.width)
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].softmax(0)


def text_losses(text: str, tokenizer: Any, model: Any, tokens: int) -> list[float]:
    """Return the mean negative log-likelihood of a text's tokens, for each part of at most so many tokens."""
    import torch

    ids, end = tokenizer(text)["input_ids"], tokenizer.eos_token_id
    end = tokenizer.sep_token_id if end is None else end
    ids = ids if ids and ids[-1] == end else [*ids, end]
    ids = ids if len(ids) > 1 else [end if tokenizer.bos_token_id is None else tokenizer.bos_token_id, *ids]
    losses = []
    for start in range(0, len(ids) - 1, tokens - 1):
        part = torch.tensor(ids[start : start + tokens])
        with torch.no_grad():
            logits = model(input_ids=part[None]).logits[0, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits.float(), part[1:])))
    return losses


def rewrite(source: str, tokenizer: Any, model: Any) -> str:
    """Return what a model writes from a source."""
    import torch

    read = tokenizer(source, truncation=True, return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(input_ids=read["input_ids"], attention_mask=read["attention_mask"])[0]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
