"""Texts as rows of tokens that are learned, and which right texts a model cannot write.

The tasks that learn texts encode their splits as `EncodedTokens`; the inspection asks for the findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from luthier.studies.findings import Finding, note, warning
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded

TRIED = 500
"""The most training rows whose right texts are turned into tokens and back."""
MANY = 0.01
"""Share of the right texts that cannot be written, above which scores may mislead."""
EXCERPT = 40
"""Characters of a text in a sentence."""


@dataclass(frozen=True, kw_only=True)
class EncodedTokens(Encoded):
    """Texts as rows of tokens. A row is a unit; an example may have several, where a long text is divided.

    Targets of a row: `labels`, its learned tokens in their order; `first`, the place of the logits that predict the
    first of them, those of the others follow; and where an answer is written, `texts`, the right one.

    Attributes:
        tokenizer: It turns written tokens into text.
        room: Tokens of the longest input.
        offsets: The number of rows before each example, and last the number of rows; None: each example is one row.
    """

    tokenizer: Any
    room: int
    offsets: Sequence[int] | None = None

    @property
    def example_offsets(self) -> Sequence[int]:
        """The number of rows before each example, and last the number of all."""
        return super().example_offsets if self.offsets is None else self.offsets

    def sample(self, rows: Sequence[int]) -> Self:
        """Return some of the rows as a smaller split, in which each row is an example."""
        return replace(super().sample(rows), offsets=None)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return written tokens as text, without special ones and without white space around it."""
        kept = [token for token in tokens if token >= 0]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()


def unwritable(encoded: EncodedTokens, texts: Sequence[str], name: str, generation: Generation) -> list[Finding]:
    """Return the findings on right texts that a model cannot write.

    Args:
        encoded: The training split.
        texts: The right text of each row.
        name: The model as the user wrote it.
        generation: How models write.
    """
    labels: Any = encoded.targets["labels"]
    most = generation.max_new_tokens
    long = [row for row, ids in enumerate(labels) if len(ids) > most + 1]  # 1: the end, which need not be written
    findings = []
    if long:
        longest = max(len(labels[row]) for row in long)
        said = f"{len(long):,} of {len(labels):,} right texts have more than {most} tokens for {name}, {longest:,} at "
        said += "most, and no more are written."
        cure = "Raise generation.max_new_tokens, if metrics of written texts matter."
        if len(long) > MANY * len(labels):
            findings.append(warning("texts-longer-than-written", said, cure, len(long)))
        else:
            findings.append(note("texts-longer-than-written", said, len(long), (), cure))
    count = len(labels)
    tried = [i * count // TRIED for i in range(TRIED)] if count > TRIED else range(count)
    pairs = [(texts[row].strip(), encoded.text_of(labels[row])) for row in tried]
    apart = [(text, own) for text, own in pairs if text != own and not (own and text.startswith(own[:-1]))]
    if apart:
        shown = [f"{own[:EXCERPT]!r} for {text[:EXCERPT]!r}" for text, own in apart]
        said = (
            f"{len(apart):,} of {len(pairs):,} right texts that were tried cannot be written by {name}: its tokenizer "
        )
        said += f"gives {shown[0]}. No answer to such a row can be an exact match."
        cure = "Choose a model whose tokenizer knows all characters, or an objective without written texts."
        if len(apart) > MANY * len(pairs):
            findings.append(warning("texts-not-writable", said, cure, len(apart), shown))
        else:
            findings.append(note("texts-not-writable", said, len(apart), shown, cure))
    return findings
