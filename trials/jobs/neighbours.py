"""Find how a model's inputs are put into batches, so that no answer depends on the other inputs of its batch.

The inspection calls `find_batching` once for each model. Models differ: some read the last place of an input, whatever
is there; some have no attention mask, or normalise over all of a sound; some draw at random in each forward.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch

from luthier.studies.findings import Finding, note
from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import OpenStudy

QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The examples that are tried, by their places in the order of lengths."""
SPECIAL = 2
"""Further examples, those with the most special tokens: a model may take one for padding, or for the end."""
ROUNDING = 1e-5
"""Differences of float32 logits that are rounding, relative to the largest one."""
VISIBLE = 1e-4
"""Smaller differences are too small to matter, relative to the range of a class's logits over the examples.

In 60 tiny models of as many architectures that agree, logits differ by at most 3e-6 of the largest. In those that do
not, they differ by at least 4e-5 of the largest, and by at least 5e-3 of the range.
"""
EFFECTS = {
    Batching.LEFT: (
        "padding on the right changes its answers, so it trains and is scored with padding on the left",
        "Where you use the winner in batches, pad on the left, as its saved tokenizer does.",
    ),
    Batching.EQUAL: (
        "padding changes its answers, so it trains and is scored on inputs of one length at a time, without padding",
        "Use the winner on one input at a time, or on inputs of one length.",
    ),
    Batching.SINGLE: (
        "other inputs in a batch change its answers, or it refuses them, so it trains and is scored on one at a time",
        "Use the winner on one input at a time.",
    ),
}
"""What each way of batching but the usual one means, and what to do with the winner."""


def find_batching(study: OpenStudy, max_length: int) -> Batching:
    """Return the first way of batching with which a few examples get the answers that they get alone.

    Args:
        study: Data and model; the model is left in evaluation mode.
        max_length: The largest of the space.

    Raises:
        BadData: The model answers the same example differently each time.
        torch.OutOfMemoryError: Two examples do not fit.
    """
    encoded = _most_varied(study, max_length)
    trial = _Trial(study, encoded.batched(Batching.SINGLE), _some_rows(study, encoded))
    if not trial.finite:  # what is wrong is found elsewhere
        return Batching.RIGHT
    if not trial.agree(trial.alone()):
        raise BadData(
            f"{study.name} answers the same example differently each time, because something in it is drawn at random "
            "also outside of training (as in Reformer's hashing): its scores would be chance. Choose another model.",
            "model",
        )
    return next(batching for batching in Batching if batching is Batching.SINGLE or trial.agrees(batching))


def batching_findings(name: str, batching: Batching) -> list[Finding]:
    """Return what there is to say about a model's batching: nothing where it is the usual one."""
    if batching not in EFFECTS:
        return []
    message, cure = EFFECTS[batching]
    return [note("padding-matters", f"{name}: {message}.", cure=cure)]


def _most_varied(study: OpenStudy, max_length: int) -> Encoded:
    """Return, of the splits that are the same in every epoch, the one whose examples differ the most in length."""
    splits = [study.encoded(name, max_length) for name in study.data.splits]
    own = [encoded.batched(Batching.SINGLE) for encoded in splits if not encoded.augmented]
    return max(own, key=lambda encoded: max(encoded.lengths) - min(encoded.lengths))


def _some_rows(study: OpenStudy, encoded: Encoded) -> list[int]:
    """Return at most eight rows: of all lengths, and with the most special tokens."""
    order = sorted(range(len(encoded)), key=lambda i: encoded.lengths[i])
    rows = [order[round(share * (len(order) - 1))] for share in QUANTILES]
    counts = _special_tokens(study, encoded)
    rows += sorted((i for i in order if counts[i] > min(counts)), key=lambda i: -counts[i])[:SPECIAL]
    return list(dict.fromkeys(rows))


def _special_tokens(study: OpenStudy, encoded: Encoded) -> list[int]:
    """Return the number of special tokens in each row: 0 where inputs are no tokens."""
    special = frozenset(getattr(study.pretrained.processor, "all_special_ids", ()))
    if not special or "input_ids" not in encoded.columns:
        return [0] * len(encoded)
    return [sum(token in special for token in ids) for ids in encoded.columns["input_ids"]]


class _Trial:
    """Answers to a few examples in float32, compared with the answers to each of them alone.

    Args:
        study: The model.
        encoded: A split.
        rows: The examples, shortest first.
    """

    def __init__(self, study: OpenStudy, encoded: Encoded, rows: Sequence[int]) -> None:
        self._study = study
        self._engine = Engine(study.pretrained.model, study.task, MicroBatch(), precision="float32")
        self._encoded = encoded
        self._rows = rows
        study.pretrained.model.eval()  # type: ignore[no-untyped-call]
        self._expected = self.alone()
        logits = torch.cat(self._expected)
        logits = logits.reshape(len(logits), -1)  # (units, numbers)
        spread = logits.max(0).values - logits.min(0).values
        self._tolerance = max(ROUNDING * float(logits.abs().max()), VISIBLE * float(spread.max()))

    @property
    def finite(self) -> bool:
        """Whether each answer is a number."""
        return all(bool(answer.isfinite().all()) for answer in self._expected)

    def alone(self) -> list[torch.Tensor]:
        """Return the logits of each example alone, (units, ...) each."""
        return [self._logits(self._encoded, [row])[0] for row in self._rows]

    def agree(self, answers: Sequence[torch.Tensor]) -> bool:
        """Return whether the examples' logits are those that each gets alone."""
        pairs = zip(answers, self._expected, strict=True)
        return all(float((answer - alone).abs().max()) <= self._tolerance for answer, alone in pairs)

    def agrees(self, batching: Batching) -> bool:
        """Return whether the examples get the same logits in batches; also not where the model refuses a batch."""
        encoded = self._encoded.batched(batching)
        try:
            if batching is Batching.EQUAL:
                return self.agree([self._logits(encoded, batch)[0] for batch in self._equal_batches()])
            return self.agree(self._logits(encoded, self._rows))
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            if out_of_memory(error):
                raise
            return False

    def _equal_batches(self) -> list[list[int]]:
        """Return each example with those of its length that have the fewest and the most special tokens."""
        counts = _special_tokens(self._study, self._encoded)
        of_length = defaultdict[int, list[int]](list)
        for row in sorted(range(len(counts)), key=counts.__getitem__):
            of_length[self._encoded.lengths[row]].append(row)
        return [[i, same[0], same[-1]] for i in self._rows for same in [of_length[self._encoded.lengths[i]]]]

    @torch.no_grad()
    def _logits(self, encoded: Encoded, rows: Sequence[int]) -> list[torch.Tensor]:
        """Return the logits of each row of a batch, (units, ...) each."""
        logits = self._engine.exact(encoded, rows)
        counts = [len(encoded.units([row])) for row in rows]
        return list(torch.split(logits.float(), counts))
