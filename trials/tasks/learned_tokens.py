"""Tasks that learn the tokens of texts: loss, statistics and scores, of the learned tokens' logits alone.

Models that continue texts and models that translate are subclasses; they encode examples and write. Logits are as wide
as a vocabulary, so only those of learned tokens are computed (`narrowed`), and reduced at once to a few numbers a row.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy
import torch
from torch.nn import functional

from luthier.studies.findings import Finding
from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.text_targets import TextTargets
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks import text
from luthier.trials.tasks.base import Loss, TaskCode
from luthier.trials.tasks.encoded_tokens import EncodedTokens, unwritable
from luthier.trials.tasks.scoring import GENERATED, NOT_GENERATED, Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.token_loss import TokenLoss, chunks, learned_logits
from luthier.trials.transfer import sent

NLL, TOKENS, RIGHT_TOKENS, EXACT = "nll", "tokens", "right_tokens", "exact"
"""Names of statistics: a row's summed negative log-likelihood, its learned tokens, how many of these are the most
likely ones; and 1 where its written text is right, 0 where it is wrong, `NOT_GENERATED` where none was written."""
LARGEST_EXPONENT = 700.0
"""The perplexity of a larger loss is no number that a float can hold."""


class LearnedTokens(TaskCode[TextTargets]):
    """A model with logits over a vocabulary, (rows, tokens, vocabulary)."""

    targets: ClassVar[type[TextTargets]] = TextTargets

    @contextlib.contextmanager
    def narrowed(self, model: Any, targets: Tensors) -> Iterator[None]:
        """Within this context a forward computes the logits of learned tokens only, (1, learned, vocabulary)."""
        layer = model.get_output_embeddings()
        if layer is None:
            yield
            return

        def pick(module: Any, inputs: tuple[Any, ...]) -> Any:
            hidden, *others = inputs
            places = (targets[name].to(hidden.device, non_blocking=True) for name in ("rows", "positions"))
            return (hidden[tuple(places)][None], *others)

        handle = layer.register_forward_pre_hook(pick)
        try:
            yield
        finally:
            handle.remove()

    def output_bytes(self, model: Any, encoded: Encoded) -> Sequence[int]:
        """Return the bytes of the logits of each row's learned tokens."""
        width = 4 * int(model.config.get_text_config().vocab_size)
        return [width * len(labels) for labels in encoded.targets["labels"]]

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the learned tokens of some rows, and where in the batch their logits are: (learned,) each.

        `counts` are the learned tokens of each row, (rows,).
        """
        labels, first = encoded.targets["labels"], encoded.targets["first"]
        counts = torch.tensor([len(labels[i]) for i in rows])
        begin = torch.tensor([start + first[i] for i, start in zip(rows, self.shifts(encoded, rows), strict=True)])
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return {
            "labels": torch.from_numpy(numpy.concatenate([numpy.asarray(labels[i], dtype=numpy.int64) for i in rows])),
            "rows": torch.arange(len(rows)).repeat_interleave(counts),
            "positions": begin.repeat_interleave(counts) + within,
            "counts": counts,
        }

    def shifts(self, encoded: Encoded, rows: Sequence[int]) -> Sequence[int]:
        """Return for each row how far padding shifts the places of its logits."""
        return text.starts(encoded, rows)

    def encoding_findings(self, encoded: Encoded, name: str, generation: Generation) -> Sequence[Finding]:
        """Return the findings on right texts that a model cannot write: too long ones, and ones without tokens."""
        assert isinstance(encoded, EncodedTokens)
        texts = encoded.targets.get("texts")
        return () if texts is None else unwritable(encoded, [str(text) for text in texts], name, generation)

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return what the loss needs of each learned token's logits, (learned, 4).

        These are the logit of the token, the logarithm of the sum of all exponentials, the highest and the mean one.
        """
        logits = learned_logits(outputs, targets)
        labels = sent(targets["labels"], logits.device)
        parts = []
        for part, wanted in chunks(logits, labels):
            own = part.gather(1, wanted[:, None])[:, 0]
            parts.append(torch.stack([own, part.logsumexp(1), part.max(1).values, part.mean(1)], 1))
        return torch.cat(parts)

    def loss(self, pretrained: Pretrained, targets: TextTargets, training: Encoded, params: Params) -> Loss:
        """Return the cross-entropy of the learned tokens, with the configuration's label smoothing."""
        return TokenLoss(float(params["label_smoothing"]))

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return for each row the log-likelihood of its learned tokens, and how many are the most likely ones."""
        logits = learned_logits(outputs, targets)
        labels = targets["labels"].to(logits.device)
        losses, right = [], []
        for part, wanted in chunks(logits, labels):
            losses.append(functional.cross_entropy(part, wanted, reduction="none").double())
            right.append((part.argmax(1) == wanted).double())
        counts = targets["counts"].to(logits.device)
        return {
            NLL: torch.segment_reduce(torch.cat(losses), "sum", lengths=counts),
            RIGHT_TOKENS: torch.segment_reduce(torch.cat(right), "sum", lengths=counts),
            TOKENS: counts,
        }

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return each row's log-likelihood and tokens; and of written texts the tokens, and whether they are right."""
        assert isinstance(encoded, EncodedTokens)
        found = {name: answers[name] for name in (NLL, TOKENS, RIGHT_TOKENS)}
        texts = encoded.targets.get("texts")
        if texts is None or GENERATED not in answers:
            return found
        written = answers[GENERATED]
        said = [None if ids[0] == NOT_GENERATED else encoded.text_of(ids) for ids in written.tolist()]
        wanted = [str(texts[row]).strip() for row in rows]
        exact = [
            float(NOT_GENERATED) if text is None else float(text == right)
            for text, right in zip(said, wanted, strict=True)
        ]
        return (
            found
            | {GENERATED: written, EXACT: torch.tensor(exact, dtype=torch.double)}
            | self.written_statistics(said, wanted)
        )

    def written_statistics(self, said: Sequence[str | None], wanted: Sequence[str]) -> Batch:
        """Return further statistics of written texts, name -> (rows, ...).

        Args:
            said: The text of each row; None where none was written.
            wanted: The right texts.
        """
        return {}

    def scores(self, statistics: Statistics, targets: TextTargets) -> Metrics:
        """Compute the loss per learned token, perplexity, the tokens' accuracy, and exact matches of written texts."""
        units = statistics.units
        tokens = float(units[TOKENS].sum())
        loss = float(units[NLL].sum()) / tokens
        finite = math.isfinite(loss)
        scores: Metrics = {
            "loss": loss if finite else None,
            "perplexity": math.exp(loss) if finite and loss < LARGEST_EXPONENT else None,
            "token_accuracy": float(units[RIGHT_TOKENS].sum()) / tokens,
        }
        return scores | {"exact_match": None if (exact := _written(statistics)) is None else float(exact.mean())}

    def right(self, statistics: Statistics, targets: TextTargets) -> torch.Tensor | None:
        """Return whether each row's written text is the right one; None where nothing was written."""
        return None if _written(statistics) is None else statistics.units[EXACT] == 1

    def badness(self, statistics: Statistics, targets: TextTargets) -> torch.Tensor:
        """Return the loss per learned token of each row."""
        return statistics.units[NLL] / statistics.units[TOKENS]

    def truths(self, statistics: Statistics, encoded: Encoded, targets: TextTargets) -> Iterable[str]:
        """Return the right text of each row, the tokens of a (part of a) text that is learned as a whole."""
        assert isinstance(encoded, EncodedTokens)
        texts = encoded.targets.get("texts")
        if texts is not None:
            return (str(text).strip() for text in texts)
        return (encoded.text_of(labels) for labels in encoded.targets["labels"])

    def said(self, statistics: Statistics, encoded: Encoded, targets: TextTargets) -> Iterable[str]:
        """Return the text that is written for each row; where none is, the loss per token."""
        assert isinstance(encoded, EncodedTokens)
        units = statistics.units
        if GENERATED in units:
            return (encoded.text_of(tokens) for tokens in units[GENERATED].tolist())
        return (f"loss {nll:.4f}" for nll in (units[NLL] / units[TOKENS]).tolist())

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[Any]]:
        """Return for each row its loss per token, and the text that is written."""
        assert isinstance(encoded, EncodedTokens)
        losses = (answers[NLL] / answers[TOKENS]).tolist()
        if GENERATED not in answers or "texts" not in encoded.targets:
            return [[loss] for loss in losses]
        return [[loss, encoded.text_of(ids)] for loss, ids in zip(losses, answers[GENERATED].tolist(), strict=True)]


def _written(statistics: Statistics) -> torch.Tensor | None:
    """Return `EXACT` of the rows for which a text was written, None where there are none."""
    exact = statistics.units.get(EXACT)
    if exact is None:
        return None
    written = exact[exact != NOT_GENERATED]
    return written if len(written) else None
