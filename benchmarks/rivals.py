"""Simulated answers of two rival models, for promotion.py: one population of examples for each kind of metric.

`RIVALRIES` lists them. Two models of a rivalry agree on most examples, as models do that learned the same data; whether
one is better is known, because both are measured on the whole population. The statistics are what the tasks' code
makes of a model's outputs. What a challenger may be:

alike    it errs as the champion does: the two could be exchanged
other    equally good, but of another kind: surer of itself, with another scale, or with few grave errors for many small
better   with smaller errors of the champion's kind
both     better, and of another kind
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.data.mask_targets import MaskTargets
from luthier.trials.data.numbers import Numbers
from luthier.trials.data.text_targets import TextTargets
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_metrics import text_statistics

NOTHING = Encoded(columns={}, padding={}, targets={}, lengths=[], longest=0)
SHARED = 0.6  # of the errors' size: what one of two models finds hard the other one does, too
WORDS = [first + middle + last for first in "bdklmst" for middle in "aeiou" for last in ("", "n", "st", "mi")]
Answers = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rivalry:
    """A metric, and the answers on which two models are compared by it.

    Attributes:
        task: The task's name.
        metric: The objective.
        kind: A sum over examples or a ranking of them.
        targets: What the models learned.
        answers: (size, seed, noise, other) -> statistics of a model's answers; `seed` draws the model's own errors.
        noise: The champion's.
        exact: A model of another kind with the same noise is exactly as good.
        size: Examples of the population.
        related: Examples of a group.
    """

    task: str
    metric: str
    kind: str
    targets: Any
    answers: Callable[[int, int, float, bool], Answers]
    noise: float
    exact: bool = False
    size: int = 20_000
    related: int = 1

    def statistics(self, seed: int, noise: float, other: bool = False) -> Statistics:
        """Return the statistics of a model on the population."""
        return Statistics(self.answers(self.size, seed, noise, other), {})

    def score(self, statistics: Statistics) -> float:
        """Return the metric on all examples of some statistics."""
        score = task_code(self.task).score(self.metric, statistics, self.targets)
        assert score is not None
        return score

    def rivals(self, challenger: str, gain: float) -> tuple[Statistics, Statistics]:
        """Return champion and challenger on the population.

        Args:
            challenger: alike, other, better or both.
            gain: The share by which a better challenger's noise is smaller.
        """
        champion = self.statistics(1, self.noise)
        if challenger == "better":
            return champion, self.statistics(2, self.noise * (1 - gain))
        if challenger == "alike":  # each example a second time with the two exchanged: equally good to the last bit
            other = self.statistics(2, self.noise)
            return champion.joined(other), other.joined(champion)
        if self.exact and challenger == "other":
            other = self.statistics(2, self.noise)
            turned = self.statistics(2, self.noise, other=True).joined(self.statistics(1, self.noise, other=True))
            return champion.joined(other), turned
        noise = self.noise if self.exact else self._noise_as_good(self.score(champion))
        return champion, self.statistics(2, noise * (1 - gain if challenger == "both" else 1), other=True)

    def _noise_as_good(self, wanted: float) -> float:
        """Return the noise with which a model of another kind has the score that is wanted, by bisection."""
        low, high = 0.0, 4 * self.noise
        best = self.statistics(2, high, other=True)
        rising = self.score(self.statistics(2, low, other=True)) < self.score(best)  # an error rate rises with noise
        for _ in range(14):
            middle = (low + high) / 2
            best = self.statistics(2, middle, other=True)
            low, high = (middle, high) if (self.score(best) < wanted) == rising else (low, middle)
        assert abs(self.score(best) - wanted) < 0.01 * abs(wanted), f"no noise makes the two as good by {self.metric}"
        return (low + high) / 2


def _draws(seed: int, *shape: int, related: int = 1) -> torch.Tensor:
    """Return normal errors: those that all models share, and those of the model with this seed."""
    rows = (shape[0] // related, *shape[1:])
    parts = [torch.randn(rows, generator=torch.Generator().manual_seed(s), dtype=torch.double) for s in (99, seed)]
    errors = SHARED**0.5 * parts[0] + (1 - SHARED) ** 0.5 * parts[1]
    return errors.repeat_interleave(related, 0)


def _truth(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def _classes(classes: int, related: int = 1) -> Callable[[int, int, float, bool], Answers]:
    """Return answers of a classifier; one of another kind is surer, and says the first class more often."""

    def answers(size: int, seed: int, noise: float, other: bool) -> Answers:
        labels = (_truth(size) * (classes + 1)).long().clamp(max=classes - 1)  # the last class is twice as frequent
        logits = 2 * torch.nn.functional.one_hot(labels, classes).double()
        logits += noise * _draws(seed, size, classes, related=related)
        if other:
            logits = 4 * logits
            logits[:, 0] += 2
        return dict(task_code("text-classification").statistics({"logits": logits, "labels": labels}, NOTHING, ()))

    return answers


def _numbers(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return numbers; a model of another kind has learned less of their spread."""
    true = _truth(size).mul(6).sub(3)
    said = true + noise * _draws(seed, size)
    return {"said": 0.3 * said + 1 if other else said, "true": true}


def _heavy_numbers(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return numbers; a model of another kind is off by far in one row of twenty."""
    true, errors = _truth(size).mul(6).sub(3), _draws(seed, size)
    if other:
        rare = torch.rand(size, generator=torch.Generator().manual_seed(7)) < 0.05
        errors = torch.where(rare, 4 * errors, 0.5 * errors)
    return {"said": true + noise * errors, "true": true}


def _label_sets(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return sets of three labels; a model of another kind is surer, and of the first label more than of others."""
    labels = _truth(size, 3) > 0.8
    logits = labels * 2.0 - 1 + noise * _draws(seed, size, 3)
    if other:
        logits = logits * torch.tensor([8.0, 4.0, 1.0]) + torch.tensor([1.0, -2.0, 0.0])
    return {"labels": labels, "margins": logits, "loss": torch.zeros(size, dtype=torch.double)}


def _texts(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return written texts with wrong words; a model of another kind has few texts that are wrong from end to end."""
    lengths = (_truth(size) * 12 + 3).long().tolist()
    chosen = (_truth(size, 15) * len(WORDS)).long().tolist()
    errors = _draws(seed, size, 15).mul(0.5).sigmoid()
    wrong = ((errors[:, :1].expand_as(errors) if other else errors) < noise).tolist()
    wanted = [" ".join(WORDS[word] for word in words[:n]) for words, n in zip(chosen, lengths, strict=True)]
    said = [
        " ".join(WORDS[(word + 31 * bad) % len(WORDS)] for word, bad in zip(words[:n], row[:n], strict=True))
        for words, n, row in zip(chosen, lengths, wrong, strict=True)
    ]
    exact = [float(one == right) for one, right in zip(said, wanted, strict=True)]
    tokens = torch.tensor(lengths, dtype=torch.double)
    share = (errors.mean(1) if not other else errors[:, 0]) * noise
    common = {"nll": tokens * share, "tokens": tokens, "right_tokens": tokens, "exact": torch.tensor(exact).double()}
    return common | text_statistics(said, wanted)


def _transcripts(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return edits of transcripts; a model of another kind writes nothing at all for a few sounds."""
    words = (_truth(size) * 24 + 1).long()
    errors = _draws(seed, size).sigmoid() ** 3
    if other:
        edits = torch.where(errors > (1 - noise) ** 3, words, 0)
    else:
        edits = (words * (errors * noise * 4).clamp(max=1)).round().long()
    units = {"word_edits": edits, "words": words, "letter_edits": edits, "letters": words}
    return units | {"loss": edits.double(), "size": words.double()}


def _masks(size: int, seed: int, noise: float, other: bool) -> Answers:
    """Return pixels of three classes; a model of another kind misses those of the last class above all."""
    shares = _truth(size, 3) ** torch.tensor([0.3, 2.0, 2.0])
    true = (shares / shares.sum(1, keepdim=True) * 1000).long()
    missed = (noise * _draws(seed, size, 3).exp()).clamp(max=1) * (torch.tensor([0.3, 0.3, 2.0]) if other else 1)
    right = (true * (1 - missed)).long()
    said = right + (true - right).roll(1, 1)
    return {"right": right, "predicted": said, "labelled": true, "nll": torch.zeros(size, dtype=torch.double)}


NAMES = ("a", "b", "c")
TEXT, NUMBER, SETS = "text-classification", "text-regression", "text-multilabel-classification"
WRITTEN = ("text2text-generation", TextTargets("target"), _texts)
SUM, RANKING = "sum", "ranking"


def _written(metric: str, noise: float = 0.4) -> Rivalry:
    return Rivalry(WRITTEN[0], metric, SUM, *WRITTEN[1:], noise, size=3_000)


def _classified(metric: str, kind: str, classes: int, **more: Any) -> Rivalry:
    answers = _classes(classes, more.get("related", 1))
    return Rivalry(TEXT, metric, kind, ClassTargets(NAMES[:classes]), answers, 1.5, **more)


RIVALRIES: Mapping[str, Rivalry] = {
    "accuracy": _classified("accuracy", SUM, 3),
    "accuracy, groups of 5": _classified("accuracy", SUM, 3, related=5),
    "macro_f1": _classified("macro_f1", SUM, 3),
    "micro_f1": Rivalry(SETS, "micro_f1", SUM, LabelSetTargets(NAMES), _label_sets, 1.2),
    "mse": Rivalry(NUMBER, "mse", SUM, Numbers(), _heavy_numbers, 1.5),
    "r2": Rivalry(NUMBER, "r2", SUM, Numbers(), _heavy_numbers, 1.5),
    "pearson": Rivalry(NUMBER, "pearson", SUM, Numbers(), _numbers, 1.5, exact=True),
    "exact_match": _written("exact_match", 0.35),
    "loss a token": _written("loss"),
    "bleu": _written("bleu"),
    "chrf": _written("chrf"),
    "rouge_l": _written("rouge_l"),
    "wer": Rivalry("automatic-speech-recognition", "wer", SUM, Transcripts(("a",)), _transcripts, 0.4),
    "mean_iou": Rivalry("image-segmentation", "mean_iou", SUM, MaskTargets(NAMES), _masks, 0.2),
    "spearman": Rivalry(NUMBER, "spearman", RANKING, Numbers(), _numbers, 1.5, exact=True),
    "auc, two classes": _classified("auc", RANKING, 2, exact=True),
    "auc, three classes": _classified("auc", RANKING, 3),
    "map": Rivalry(SETS, "map", RANKING, LabelSetTargets(NAMES), _label_sets, 1.2, exact=True),
}
