"""Find how a model's inputs are put into batches, so that no answer depends on the other inputs of its batch.

The inspection calls `find_batching` once for each model. Models differ: some read the last place of an input, whatever
is there; some have no attention mask, or normalise over all of a sound; some draw at random in each forward.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch

from luthier.studies.findings import Finding, note
from luthier.studies.results import Batching
from luthier.studies.text import one_line
from luthier.trials.data.batches import pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.training.engine import Engine
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy

QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The examples that are tried, by their places in the order of lengths."""
SPECIAL = 2
"""Further examples, those with the most special tokens: a model may take one for padding, or for the end."""
ROUNDING = 1e-5
"""Differences of float32 logits that are rounding, relative to the largest one."""
VISIBLE = 1e-4
"""Smaller differences are too small to matter, relative to the range of a class's logits over the examples.

Measured: in tiny models of 50 architectures that agree, and in BERTs of 6 to 24 layers, logits differ by at most 3e-6
of the largest. In 15 that do not agree they differ by at least 4e-5 of the largest, and by 5e-3 of the range.
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
        BadData: The model cannot take an example alone, or answers it differently each time.
    """
    encoded = _most_varied(study, max_length)
    try:
        return _find(_Trial(study, encoded.batched(Batching.SINGLE), _some_rows(study, encoded)), study.name)
    except BadData:
        raise
    except Exception as error:  # a model's own code raises what it likes
        if out_of_memory(error):  # the search for batch sizes that fit says so
            return Batching.RIGHT
        text = f"{study.name} cannot take one example alone: {one_line(error)}. Choose another model, or max_length."
        raise BadData(text, "model") from None


def _find(trial: "_Trial", name: str) -> Batching:
    """Return the first way of batching that a model agrees with. Raises BadData, and whatever the model raises."""
    if not trial.finite:  # what is wrong is found elsewhere
        return Batching.RIGHT
    if not trial.is_repeatable():
        raise BadData(
            f"{name} answers the same example differently each time, because something in it is drawn at random "
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
    rows = sorted((i for i in order if counts[i] > min(counts)), key=lambda i: -counts[i])[:SPECIAL] + rows
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
        encoded: A split, batched as `SINGLE`.
        rows: The examples.

    Attributes:
        finite: Whether each logit is a number.
    """

    def __init__(self, study: OpenStudy, encoded: Encoded, rows: Sequence[int]) -> None:
        self._study = study
        self._engine = Engine(study.pretrained.model, study.task, MicroBatch(), precision="float32")
        self._encoded = encoded
        self._rows = rows
        study.pretrained.model.eval()  # type: ignore[no-untyped-call]
        self._sizes: dict[int, int] = {}  # of a row's logits that count, along their first dimension
        self._expected = [self._alone(row) for row in rows]
        logits = torch.cat(self._expected)
        logits = logits.reshape(len(logits), -1)  # (units, numbers)
        spread = logits.max(0).values - logits.min(0).values
        self._tolerance = max(ROUNDING * float(logits.abs().max()), VISIBLE * float(spread.max()))
        self.finite = bool(logits.isfinite().all())

    def is_repeatable(self) -> bool:
        """Return whether the first and the last example get the same logits alone once more."""
        ends = (0, -1)
        return self._agree([self._alone(self._rows[i]) for i in ends], [self._expected[i] for i in ends])

    def agrees(self, batching: Batching) -> bool:
        """Return whether the examples get the same logits in batches; also not where the model refuses a batch."""
        encoded = self._encoded.batched(batching)
        try:
            if batching is Batching.EQUAL:
                answers = [self._logits(encoded, batch)[0] for batch in self._equal_batches()]
            else:
                answers = run_halving(lambda size: self._in_pieces(encoded, size), len(self._rows), MicroBatch())
            return self._agree(answers, self._expected)
        except Exception as error:  # a model's own code raises what it likes
            if out_of_memory(error):
                raise
            return False

    def _agree(self, answers: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
        """Return whether logits are the expected ones, up to what is too small to matter."""
        pairs = zip(answers, expected, strict=True)
        return all(float((answer - alone).abs().max()) <= self._tolerance for answer, alone in pairs)

    def _in_pieces(self, encoded: Encoded, size: int) -> list[torch.Tensor]:
        """Return the examples' logits, (units, ...) each, from batches of at most `size` of them."""
        return [logits for piece in pieces(encoded, self._rows, size) for logits in self._logits(encoded, piece)]

    def _alone(self, row: int) -> torch.Tensor:
        """Return the logits of an example alone, (units, ...)."""
        with torch.no_grad():
            logits = self._engine.exact(self._encoded, [row]).float()
        self._sizes[row] = len(logits)
        return logits

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
        return list(torch.split(logits.float(), [self._sizes[row] for row in rows]))
