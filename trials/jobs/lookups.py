"""Whether a model has an embedding for everything that its inputs ask for: tokens, their types, their places.

The inspection calls it before the first training step. On a GPU a look-up beyond a table leaves the process unusable,
so the tables' numbers are compared before each look-up.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import nn

from luthier.studies.findings import Finding
from luthier.studies.strategy import Generation
from luthier.studies.text import one_line
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model.tokens import special_texts, unknown_texts
from luthier.trials.training.open_study import OpenStudy


def check_lookups(study: OpenStudy, max_length: int, generation: Generation) -> list[Finding]:
    """Encode every split, whose ids are checked then, and try the longest row of each on the model.

    Args:
        study: Data and a model of a text task; nothing is done for models that look nothing up.
        max_length: The largest of the space.
        generation: How models write, for the tasks that have texts written.

    Returns:
        The finding that the tokenizer knows no part of most texts, if so, and those of the task.

    Raises:
        BadData: The model has no embedding for a token or its place.
    """
    pretrained = study.pretrained
    findings: list[Finding] = []
    if not pretrained.table_sizes:
        return findings
    model = pretrained.model
    handles = [
        module.register_forward_pre_hook(_checked(study.name, name, module.num_embeddings))
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
    ]
    try:
        for split in study.data.splits:
            encoded = study.encoded(split, max_length)
            if split == "train" and "input_ids" in encoded.columns:
                findings = unknown_texts(pretrained.processor, encoded.columns["input_ids"], study.name)
                findings += special_texts(pretrained.processor, _train_texts(study), study.name)
                findings += study.task.encoding_findings(encoded, study.name, generation)
            longest = max(range(len(encoded)), key=lambda i: encoded.lengths[i])
            rows = [longest, min(range(len(encoded)), key=lambda i: encoded.lengths[i])]  # the second one is padded
            _try(study, encoded, rows)
    finally:
        for handle in handles:
            handle.remove()
    return findings


def _train_texts(study: OpenStudy) -> Iterator[Any]:
    """Yield each value of the training split's columns, and each target, which may be a text."""
    train = study.data.splits["train"]
    return chain(*train.columns.values(), train.targets)


def _try(study: OpenStudy, encoded: Encoded, rows: list[int]) -> None:
    """Run the model on a batch, or on one row after another where its own code refuses just this batch."""
    batch = study.task.collate(encoded, rows)
    model = study.pretrained.model
    model.eval()  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad():
            model(**{name: values.to(model.device) for name, values in batch.items()})
    except BadData:
        raise
    except Exception as error:  # a model's own code raises what it likes
        if out_of_memory(error):  # the search for batch sizes that fit says so
            return
        if isinstance(error, ValueError) and len(rows) > 1:  # BART wants as many end tokens in each
            for row in rows:
                _try(study, encoded, [row])
            return
        length = encoded.lengths[rows[0]]
        text = f"{study.name} cannot take a text of {length} tokens: {one_line(error).rstrip('.')}. {_cure(error)}"
        raise BadData(text, "model") from None


def _cure(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "Lower max_length."
    if isinstance(error, RuntimeError | ValueError | TypeError):
        return "Save the model's own tokenizer with it."
    return "Complete its config.json where that lacks something, or choose another model."


def _checked(name: str, table: str, size: int) -> Any:
    """Return a hook that compares the numbers a table is asked for with its size."""

    def before(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        asked = inputs[0]
        if asked.numel() == 0 or (int(asked.max()) < size and int(asked.min()) >= 0):
            return
        worst = int(asked.max()) if int(asked.max()) >= size else int(asked.min())
        raise BadData(
            f"{name}: an input of {asked.shape[-1]} tokens asks for number {worst} of {table}, which has 0 to "
            f"{size - 1}. Lower max_length if these are the places of tokens; else save the tokenizer that belongs "
            "to the model into its folder.",
            "model",
        )

    return before
