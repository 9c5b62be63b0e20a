"""Augmentation of tokens: some are left out, or masked, drawn anew for each batch.

The tasks on text call `augmented`. Draws come from the module `random`'s own generator, which the trainer seeds.
"""

# ruff: noqa: S311 - reproducible draws, not secrets

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from luthier.trials.data.encoded import Changes, Encoded
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained

ENDS = ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
"""Special tokens that stand for no part of a text, as the unknown token does."""
Tokens = TypeVar("Tokens", bound=Encoded)


@dataclass(frozen=True, kw_only=True)
class TokenChanges(Changes):
    """Random changes of tokens.

    Attributes:
        special: Token ids that stay.
        mask: The token that takes a masked one's place; None: tokens are left out.
    """

    special: frozenset[int]
    mask: int | None

    @property
    def tokens(self) -> frozenset[int]:
        """The mask."""
        return frozenset() if self.mask is None else frozenset((self.mask,))

    def draw(self, encoded: Encoded) -> Encoded:
        """Return the split with some tokens changed, each with the probability `rate`."""
        columns = {name: list(values) for name, values in encoded.columns.items()}
        for row, ids in enumerate(encoded.columns["input_ids"]):
            kept = kept_tokens(ids, self.special, self.rate)
            if self.mask is not None:
                staying = set(kept)
                columns["input_ids"][row] = [token if i in staying else self.mask for i, token in enumerate(ids)]
                continue
            for values in columns.values():
                values[row] = [values[row][i] for i in kept]
        lengths = [len(ids) for ids in columns["input_ids"]]
        return replace(encoded, columns=columns, lengths=lengths, augmented=False, changes=None)


def kept_tokens(ids: Sequence[int], special: Collection[int], rate: float) -> list[int]:
    """Draw the positions of the tokens that stay: all special ones, and of each run between them at least one.

    So no text is lost, and no text of a pair.

    Args:
        ids: A row's tokens.
        special: Token ids that stay.
        rate: Probability that another token does not stay.
    """
    kept: list[int] = []
    for is_special, run in groupby(range(len(ids)), lambda i: ids[i] in special):
        positions = list(run)
        kept += positions if is_special else _drawn(positions, rate)
    return kept


def _drawn(positions: Sequence[int], rate: float) -> list[int]:
    return [i for i in positions if random.random() >= rate] or [random.choice(positions)]


def augmented(encoded: Tokens, pretrained: Pretrained, augmentation: str) -> Tokens:
    """Return an encoded split whose tokens change at random in each batch.

    Args:
        encoded: Without padding.
        pretrained: Its tokenizer made the tokens.
        augmentation: token_dropout or masking.

    Raises:
        BadData: The tokenizer has no token to mask with.
    """
    tokenizer = pretrained.processor
    special = frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    special |= {token for name in ENDS if (token := getattr(tokenizer, f"{name}_id", None)) is not None}
    mask = _mask(tokenizer, pretrained.table_sizes.get("input_ids"), special) if augmentation == "masking" else None
    return replace(encoded, augmented=True, changes=TokenChanges(special=special, mask=mask))


def _mask(tokenizer: Any, size: int | None, special: Collection[int]) -> int:
    """Return the mask token, or the unknown token where that is no other special one too. Raises BadData.

    Args:
        tokenizer: The model's.
        size: Tokens that the model has an embedding for; None: not known.
        special: Token ids that stand for no part of a text.
    """
    unknown = tokenizer.unk_token_id
    for token in (tokenizer.mask_token_id, None if unknown in special else unknown):
        if token is not None and (size is None or token < size):
            return int(token)
    raise BadData(
        "masking needs a model with a mask token or an unknown token of its own, and this one's tokenizer has none; "
        "take augmentation: token_dropout, or another model.",
        "augmentation",
    )
