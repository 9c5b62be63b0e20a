"""Text classification: one label for a text or a pair of texts."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.pretrained import check_tokenizer as check
from luthier.trials.tasks import text
from luthier.trials.tasks.metrics import auc, classification_scores
from luthier.trials.tasks.text import collate

__all__ = ["check", "collate", "encode", "load", "scores"]


def load(folder: Path, name: str, label_names: list[str]) -> Pretrained:
    """Tokenizer and sequence classifier of a checked model folder. Raises BadData."""
    pretrained = text.load(transformers.AutoModelForSequenceClassification, folder, name, label_names)
    pretrained.model.config.problem_type = "single_label_classification"
    return pretrained


def encode(pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
    """Token ids, truncated to `max_length` or to what the model can take, if that is less."""
    tokenizer, texts, pairs = pretrained.processor, split.columns["text"], split.columns.get("text_pair")
    longest = text.longest_input(pretrained, max_length, pair=pairs is not None)
    found = tokenizer(texts, pairs, truncation=True, max_length=longest)
    columns = {name: list(found[name]) for name in tokenizer.model_input_names if name in found}
    for i, ids in enumerate(columns["input_ids"]):
        if not ids:  # a text of nothing but characters the tokenizer drops still needs a token to look at
            for name, values in columns.items():
                values[i] = [{"input_ids": tokenizer.pad_token_id, "attention_mask": 1}.get(name, 0)]
    lengths = [len(ids) for ids in columns["input_ids"]]
    padding = text.padding(tokenizer, list(columns))
    return Encoded(columns, padding, torch.tensor(split.labels), lengths, max(lengths))


def scores(logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
    """Every metric of the task, from logits (examples, classes)."""
    return classification_scores(logits, encoded.labels) | {"auc": auc(logits, encoded.labels)}
