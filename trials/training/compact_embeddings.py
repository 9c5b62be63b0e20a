"""Reduce a model's token embeddings to the rows that its data uses, for the time of a trial.

A trial that trains everything trains one row for each token of the vocabulary: half of a small model's parameters, and
most of them occur in no example. Their gradient is zero, so AdamW only multiplies them by the weight decay's factor,
the same one for all. A trial therefore keeps the rows that occur in its data, and `restore_rows` computes the others.
Set-up calls it; `checkpoint` restores the rows.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.trials.data.encoded import Encoded

LEAST_SAVED = 0.5
"""Share of the rows that must be left out; with less saved, the model stays as it is."""


class CompactEmbedding:
    """A model's token embedding that has only some of its rows until `restore`.

    Args:
        embedding: The model's.
        name: Its parameter's name in the model.
        rows: (kept tokens,) token ids, ascending, on the embedding's device.

    Attributes:
        name: The parameter's name.
        rows: The token ids, on the CPU.
        decay: The product of the factors that weight decay has multiplied the left-out rows by.
    """

    def __init__(self, embedding: nn.Embedding, name: str, rows: torch.Tensor) -> None:
        self.name = name
        self.rows = rows.cpu()
        self.decay = 1.0
        self._embedding = embedding
        self._whole = embedding.weight
        position = torch.zeros(embedding.num_embeddings, dtype=torch.long, device=rows.device)  # token id -> row
        position[rows] = torch.arange(len(rows), device=rows.device)
        padding = None if embedding.padding_idx is None else int(position[embedding.padding_idx])
        embedding.weight = nn.Parameter(self._whole.detach()[rows].clone())
        embedding.forward = lambda input: functional.embedding(position[input], embedding.weight, padding)  # type: ignore[method-assign]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Multiply `decay` by the factor of one step of AdamW, after it.

        A step for which the embedding was frozen does not change it.
        """
        if self._embedding.weight.grad is None:
            return
        for group in optimizer.param_groups:
            if any(parameter is self._embedding.weight for parameter in group["params"]):
                self.decay *= 1.0 - group["lr"] * group["weight_decay"]

    def restore(self) -> None:
        """Give the model its own parameter back, as it was before."""
        del self._embedding.forward
        self._embedding.weight = self._whole


def compact_embeddings(model: Any, splits: Iterable[Encoded], params: Params) -> CompactEmbedding | None:
    """Reduce a trainable model's token embeddings to the tokens that occur in `splits`.

    Args:
        model: Frozen to the configuration's depth. Its embedding is changed in place.
        splits: All examples that the model will see until it is restored.
        params: The configuration.

    Returns:
        The reduced embedding. None, and an unchanged model, where there are no token ids, where the model generates
        text (any token may become its input, and the table is often its head), where the embedding is frozen or of an
        unusual kind, where training changes unused rows by more than one common factor (L1 penalty;
        weight decay with Adam or SGD), or where less than `LEAST_SAVED` of the rows would be left out.
    """
    splits = list(splits)
    if any("input_ids" not in encoded.columns for encoded in splits) or model.can_generate():
        return None
    embedding = _trainable_embedding(model)
    if embedding is None:
        return None
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if p is embedding.weight]
    # Adam's and SGD's decay is added to the gradient, as the L1 penalty is: it is no common factor.
    common_factor = params["optimizer"] == "adamw" or not params["weight_decay"]
    if len(names) != 1 or not common_factor or params["l1"] or params["strategy"] == "lora":
        return None
    token_ids: set[int] = set() if embedding.padding_idx is None else {embedding.padding_idx}
    for encoded in splits:
        token_ids |= {int(encoded.padding["input_ids"])}
        token_ids.update(*encoded.columns["input_ids"])
        token_ids |= frozenset() if encoded.changes is None else encoded.changes.tokens
    if len(token_ids) > (1 - LEAST_SAVED) * embedding.num_embeddings:
        return None
    return CompactEmbedding(embedding, names[0], torch.tensor(sorted(token_ids), device=embedding.weight.device))


def _trainable_embedding(model: Any) -> nn.Embedding | None:
    """Return the model's token embedding if it trains and is a plain table of rows, else None."""
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:
        return None
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad:
        return None
    plain = embedding.max_norm is None and not embedding.scale_grad_by_freq and not embedding.sparse
    return embedding if plain else None


@torch.no_grad()
def restore_rows(whole: torch.Tensor, trained: torch.Tensor, rows: torch.Tensor, decay: float) -> None:
    """Change pretrained embeddings in place into those that training has made of them.

    Args:
        whole: (tokens, size) the pretrained embeddings.
        trained: (kept tokens, size) the trained rows.
        rows: (kept tokens,) their token ids.
        decay: Factor on all other rows.
    """
    whole.mul_(decay)
    whole[rows.to(whole.device)] = trained.to(whole.device)
