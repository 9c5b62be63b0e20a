"""How people use a packed model with transformers alone: the code on its card, and the same code as a check.

A task's `export` makes a `Usage`. `jobs.card` prints its code, and `jobs.fresh` runs its function in a new process. The
functions of a task lie in its own file or in that of its kind of input: those that stand on cards, and those that run
them.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


def piped(model: Any, folder: str, tag: str, kind: str, function_to_apply: str = "", **options: Any) -> Answer:
    """Return the function that answers as `transformers.pipeline` does.

    What is applied is said in each call: before transformers 5.23 the pipeline of sounds forgets what it was made with.

    Args:
        model: The model, loaded from its folder.
        folder: The model's.
        tag: As in `Usage`.
        kind: As in `Usage`.
        function_to_apply: softmax, sigmoid or none; "": the pipeline's own.
        options: The pipeline's further arguments.
    """
    import transformers

    make: Any = transformers.pipeline  # its overloads know no arguments by a variable's name
    processor = getattr(transformers, PROCESSORS[kind]).from_pretrained(folder, trust_remote_code=False)
    classify = make(tag, model=model, **{kind: processor}, **options)
    asked = {"top_k": model.config.num_labels} | ({"function_to_apply": function_to_apply} if function_to_apply else {})
    return lambda example: [{found["label"]: found["score"] for found in classify(example, **asked)}]


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
        function: What does the same as the code: from the model, loaded from its folder, that folder, tag, kind and
            options it makes what answers to an example. Another process finds it by its name, so it is a module's own.
        options: That function's further arguments; values that JSON can write.
    """

    tag: str
    auto: str
    kind: str
    processor: Any
    names: tuple[str, ...]
    code: str
    notes: tuple[str, ...] = ()
    function: Callable[..., Answer] = piped
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
        """The further arguments of `piped`."""
        return {"function_to_apply": self.apply} if self.apply else {}

    def code(self, example: str, outputs: int) -> str:
        """Return the statements that print the answer to an example; all `outputs` of the model are asked for."""
        asked = f", function_to_apply={self.apply!r}, top_k={outputs}" if self.apply else ""
        shown = self.shown.format(answer=f"{self.verb}({example}{asked})")
        return "\n".join(filter(None, (self.setting, f"print({shown})")))


def call(tag: str, options: Mapping[str, Any]) -> str:
    """Return the call of `transformers.pipeline` that loads a model from its folder, as code."""
    return f"pipeline({', '.join([repr(tag), f'model={HERE!r}', *(f'{k}={v!r}' for k, v in options.items())])})"


def source(function: Callable[..., Any]) -> str:
    """Return a function's source for a card."""
    return inspect.getsource(function).rstrip()


def reference(function: Callable[..., Answer]) -> str:
    """Return the name by which another process finds a function of a module, for `referred`."""
    return f"{function.__module__}:{function.__qualname__}"


def referred(name: str) -> Callable[..., Answer]:
    """Return the function of a name from `reference`."""
    module, _, function = name.partition(":")
    found: Callable[..., Answer] = getattr(importlib.import_module(module), function)
    return found
