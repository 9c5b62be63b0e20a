"""Only the token embeddings that the data uses.

A trial that trains everything trains a row for each token of the vocabulary: half of a small model's parameters, most
of them never looked at. Their gradient is zero, so all that AdamW does to them is weight decay, the same factor for
each. So a trial keeps the rows that occur in its data, and the rest is worked out when the model is put together again.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.trials.data.encoded import Encoded

LEAST_SAVED = 0.5  # of the rows, for it to be worth while


class CompactEmbedding:
    """A model whose token embeddings are, until `restore`, only those of some rows."""

    def __init__(self, embedding: nn.Embedding, name: str, rows: torch.Tensor) -> None:
        self.name, self.rows = name, rows.cpu()  # of the parameter; token ids, ascending
        self.decay = 1.0  # product of the factors by which weight decay has shrunk the other rows
        self._embedding, self._whole = embedding, embedding.weight
        place = torch.zeros(embedding.num_embeddings, dtype=torch.long, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        padding = None if embedding.padding_idx is None else int(place[embedding.padding_idx])
        embedding.weight = nn.Parameter(self._whole.detach()[rows].clone())
        embedding.forward = lambda ids: functional.embedding(place[ids], embedding.weight, padding)  # type: ignore[method-assign]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take note of a step of AdamW."""
        for group in optimizer.param_groups:
            if any(p is self._embedding.weight for p in group["params"]):
                self.decay *= 1.0 - group["lr"] * group["weight_decay"]

    def restore(self) -> None:
        """Give the model its own parameter back, as it was before."""
        del self._embedding.forward
        self._embedding.weight = self._whole


def compact_embeddings(model: Any, splits: Iterable[Encoded], params: Params) -> CompactEmbedding | None:
    """Reduce a trainable model to the tokens that occur in `splits`; None where that would change or save nothing."""
    splits = list(splits)
    if any("input_ids" not in encoded.columns for encoded in splits):
        return None
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:
        return None
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad:
        return None
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if p is embedding.weight]
    plain = embedding.max_norm is None and not embedding.scale_grad_by_freq and not embedding.sparse
    # Adam's and SGD's decay goes through the gradient, as the L1 penalty does: no common factor.
    factor = params["optimizer"] == "adamw" or not params["weight_decay"]
    if len(names) != 1 or not plain or not factor or params["l1"] or params["strategy"] != "full":
        return None
    used: set[int] = set() if embedding.padding_idx is None else {embedding.padding_idx}
    for encoded in splits:
        used |= {int(encoded.padding["input_ids"])}
        used.update(*encoded.columns["input_ids"])
    if len(used) > (1 - LEAST_SAVED) * embedding.num_embeddings:
        return None
    return CompactEmbedding(embedding, names[0], torch.tensor(sorted(used), device=embedding.weight.device))


@torch.no_grad()
def restore_rows(whole: torch.Tensor, kept: torch.Tensor, rows: torch.Tensor, decay: float) -> None:
    """Make of pretrained embeddings (tokens, size) what training made of them: `kept` at `rows`, decayed elsewhere."""
    whole.mul_(decay)
    whole[rows.to(whole.device)] = kept.to(whole.device)
