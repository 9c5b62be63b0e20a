"""Scores of a classifier from one pass over a split."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch.nn import functional

from luthier.studies.wire import Metrics
from luthier.trials.data.tags import entities


def classification_scores(logits: torch.Tensor, labels: torch.Tensor) -> Metrics:
    """Accuracy, macro F1, Matthews correlation and mean cross-entropy.

    `logits` is (examples, classes), `labels` (examples,) of class ids, both on the CPU. A loss that is not finite
    is None. Macro F1 is over the classes that occur in the labels or the predictions, as in scikit-learn; Matthews
    is Gorodkin's R_K (2004, eq. 8), 0 where it is undefined.
    """
    logits = logits.double()
    classes, count = logits.shape[1], len(labels)
    confusion = torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
    confusion = confusion.reshape(classes, classes).double()  # (true, predicted)
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurring = true + predicted > 0
    f1 = 2 * right[occurring] / (true + predicted)[occurring]
    covariance = right.sum() * count - (true * predicted).sum()
    spread = ((count**2 - (true**2).sum()) * (count**2 - (predicted**2).sum())).sqrt()
    loss = functional.cross_entropy(logits, labels)
    return {
        "accuracy": float(right.sum() / count),
        "macro_f1": float(f1.mean()),
        "matthews": float(covariance / spread) if spread > 0 else 0.0,
        "loss": float(loss) if torch.isfinite(loss) else None,
    }


def top_accuracy(logits: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Fraction of examples whose label is among the k highest logits; `logits` is (examples, classes)."""
    highest = logits.topk(min(k, logits.shape[1])).indices  # (examples, k)
    return float((highest == labels[:, None]).any(1).double().mean())


def auc(logits: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Area under the ROC curve of class 1's probability; of more classes the mean over one-versus-rest.

    Classes that none or all of the examples have take no part, as there is no curve; None where that leaves nothing,
    or a logit is not finite. By ranks (Hanley and McNeil 1982), with ties counted half.
    """
    if not torch.isfinite(logits).all():
        return None
    logits = logits.double()
    binary = logits.shape[1] == 2
    columns = [(1, logits[:, 1] - logits[:, 0])] if binary else enumerate(logits.softmax(1).unbind(1))
    areas = []
    for label, score in columns:
        mine = labels == label
        positive, negative = int(mine.sum()), int((~mine).sum())
        if positive and negative:
            _, rank, counts = score.unique(return_inverse=True, return_counts=True)
            middle = counts.cumsum(0) - (counts - 1) / 2  # rank of each distinct score, from 1; ties share theirs
            above = middle[rank[mine]].sum() - positive * (positive + 1) / 2
            areas.append(float(above / (positive * negative)))
    return sum(areas) / len(areas) if areas else None


def tag_scores(
    logits: torch.Tensor, labels: torch.Tensor, starts: Sequence[int], label_names: Sequence[str]
) -> Metrics:
    """Entity F1, the words' accuracy, macro F1 over tags, and mean cross-entropy.

    `logits` is (words, classes), `labels` (words,); a sentence's words are those from one of `starts` to the next.
    """
    found = classification_scores(logits, labels)
    true, predicted = ([label_names[i] for i in tags.tolist()] for tags in (labels, logits.argmax(1)))
    return {
        "entity_f1": entity_f1((true[a:b], predicted[a:b]) for a, b in pairwise(starts)),
        "token_accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "loss": found["loss"],
    }


def entity_f1(sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Micro F1 over the entities of (true tags, predicted tags): seqeval's f1_score. 0 where there is no entity."""
    right = total = 0
    for true, predicted in sentences:
        wanted, got = entities(true), entities(predicted)
        right += len(wanted & got)
        total += len(wanted) + len(got)
    return 2 * right / total if total else 0.0
