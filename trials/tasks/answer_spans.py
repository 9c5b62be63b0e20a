"""Spans of tokens that answer questions: the best of each row of logits, and their loss.

`QuestionAnswering` calls these functions. Tensors of logits are (rows, tokens); targets are those of
`EncodedQuestions`, (rows,) each.
"""

import math

import torch
from torch.nn import functional

from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.scoring import Batch, Reference, Tensors

WRONG = 1e4
"""The loss of a wrong answer among the references."""
Logits = tuple[torch.Tensor, torch.Tensor]
"""Of each token as the first and as the last of the answer."""


class SpanLoss(Loss):
    """The cross-entropy of first and last token over a row's own tokens, their mean; all rows weigh alike."""

    def weight(self, targets: Tensors) -> float:
        """Return the number of rows."""
        return len(targets["start"])

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum of the rows' losses, ()."""
        logits = aligned(outputs, targets, int(targets["length"].max()), -math.inf)
        return -log_likelihoods(*logits, targets).sum()


def aligned(outputs: Tensors, targets: Tensors, width: int, behind: float) -> Logits:
    """Return the logits of each row's own tokens, from its first one on, float32.

    Args:
        outputs: The model's, on its device: `start_logits` and `end_logits`, (rows, padded tokens).
        targets: The batch's, on the CPU.
        width: Tokens of a row of the result.
        behind: What stands behind a row's last token.
    """
    device = outputs["start_logits"].device
    padding, length = (targets[name].to(device, non_blocking=True)[:, None] for name in ("padding", "length"))
    number = torch.arange(width, device=device)
    place = (number + padding).clamp(max=outputs["start_logits"].shape[1] - 1)
    start, end = (
        outputs[name].float().gather(1, place).masked_fill(number >= length, behind)
        for name in ("start_logits", "end_logits")
    )
    return start, end


def log_likelihoods(start: torch.Tensor, end: torch.Tensor, targets: Tensors) -> torch.Tensor:
    """Return the mean of the log probabilities of the answer's first and last token, (rows,).

    Args:
        start: Logits, minus infinity behind each row.
        end: The same.
        targets: On the CPU.
    """
    places = (targets[name].to(start.device, non_blocking=True)[:, None] for name in ("start", "end"))
    first, last = (
        logits.log_softmax(1).gather(1, place)[:, 0] for logits, place in zip((start, end), places, strict=True)
    )
    return (first + last) / 2


def best_spans(start: torch.Tensor, end: torch.Tensor, targets: Tensors) -> Batch:
    """Return the best span of each row's context with at most `longest_answer` tokens, one of the targets.

    Each legal span is compared; transformers' scripts compare those of the 20 best first and last tokens only.

    Args:
        start: Logits, minus infinity behind each row.
        end: The same.
        targets: On the CPU.

    Returns:
        `start` and `end`, numbers of tokens; `score`, the sum of their logits, minus infinity where a row has no
        context; `rival`, the score of the second best span; and `null`, that of no answer: (rows,) each.
    """
    device = start.device
    first, last, null = (targets[name].to(device, non_blocking=True)[:, None] for name in ("first", "last", "null"))
    number = torch.arange(start.shape[1], device=device)
    outside = (number < first) | (number > last)
    own = [logits.masked_fill(outside, -math.inf) for logits in (start, end)]
    longest = min(int(targets["longest_answer"]), start.shape[1])
    ends = functional.pad(own[1], (0, longest - 1), value=-math.inf).unfold(1, longest, 1)
    scores = (own[0][:, :, None] + ends).flatten(1)  # (rows, tokens * lengths)
    two = scores.topk(min(2, scores.shape[1]), 1)
    begin = two.indices[:, 0] // longest
    return {
        "start": begin,
        "end": (begin + two.indices[:, 0] % longest).clamp(max=start.shape[1] - 1),
        "score": two.values[:, 0],
        "rival": two.values[:, -1],
        "null": (start.gather(1, null) + end.gather(1, null))[:, 0],
    }


def reference_spans(reference: Reference, share: float, targets: Tensors) -> Batch:
    """Return answers as those of `best_spans`, with their loss, that no model gave.

    Args:
        reference: Which. The constant answer is that there is none, as likely as `share` says; the other tokens are
            alike to it.
        share: Of the questions without an answer, above 0 and below 1.
        targets: Of the rows.
    """
    start, null, first, last = (targets[name] for name in ("start", "null", "first", "last"))
    none = start == null  # this row does not hold the answer
    other = torch.where(start == first, last, first)  # no right answer begins here
    if reference is Reference.CONSTANT:
        likely = torch.where(none, share, (1 - share) / (targets["length"] - 1).clamp(min=1))
        return _answers(other, other, torch.full_like(likely, -1.0), -likely.log())
    wanted = none if reference is Reference.RIGHT else targets["answerable"]
    score = 1 - 2 * wanted.float()
    if reference is Reference.RIGHT:
        return _answers(torch.where(none, first, start), torch.where(none, first, targets["end"]), score, 0 * score)
    return _answers(other, other, score, torch.full_like(score, WRONG))


def _answers(start: torch.Tensor, end: torch.Tensor, score: torch.Tensor, loss: torch.Tensor) -> Batch:
    """Return answers whose score is as far above 0 as that of no answer is below."""
    return {"start": start, "end": end, "score": score, "rival": score, "null": -score, "loss": loss}
