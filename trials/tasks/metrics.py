"""Scores of a classifier, from the logits of a whole split.

The tasks' `scores` call these functions. They equal scikit-learn's and seqeval's (tests compare them); those libraries
are not used because a worker would have to install them for a few lines each, and because a comparison computes
thousands of scores of the same logits, which is faster here.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch.nn import functional

from luthier.studies.wire import Metrics
from luthier.trials.data.tags import entities


def classification_scores(logits: torch.Tensor, labels: torch.Tensor) -> Metrics:
    """Compute accuracy, macro F1, Matthews correlation and mean cross-entropy.

    Macro F1 is the mean over the classes that occur in the labels or the predictions, as in scikit-learn. Matthews
    correlation is Gorodkin's R_K (2004, eq. 8), 0 where it is undefined.

    Args:
        logits: (examples, classes), on the CPU.
        labels: (examples,) class ids, on the CPU.

    Returns:
        accuracy, macro_f1, matthews and loss; a loss that is not finite is None.
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
    """Compute the fraction of examples whose label is among the `k` highest logits.

    Args:
        logits: (examples, classes).
        labels: (examples,) class ids.
        k: How many of the highest logits count; all of them where there are fewer classes.
    """
    highest = logits.topk(min(k, logits.shape[1])).indices  # (examples, k)
    return float((highest == labels[:, None]).any(1).double().mean())


def auc(logits: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Compute the area under the ROC curve of class 1's probability; of more classes the mean over one-versus-rest.

    The area is computed from ranks (Hanley and McNeil 1982), with ties counted half. A class that no example or every
    example has is left out, because it has no curve.

    Args:
        logits: (examples, classes).
        labels: (examples,) class ids.

    Returns:
        The area, or None where no class has a curve or a logit is not finite.
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
            _, rank, counts = score.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
            middle = counts.cumsum(0) - (counts - 1) / 2  # rank of each distinct score, from 1; ties share theirs
            above = middle[rank[mine]].sum() - positive * (positive + 1) / 2
            areas.append(float(above / (positive * negative)))
    return sum(areas) / len(areas) if areas else None


def tag_scores(
    logits: torch.Tensor, labels: torch.Tensor, sentence_offsets: Sequence[int], label_names: Sequence[str]
) -> Metrics:
    """Compute entity F1, the words' accuracy, macro F1 over tags, and mean cross-entropy.

    Args:
        logits: (words, classes), sentence after sentence.
        labels: (words,) class ids.
        sentence_offsets: The index of each sentence's first word, and last the number of words.
        label_names: Class id -> tag.

    Returns:
        entity_f1, token_accuracy, macro_f1 and loss; a loss that is not finite is None.
    """
    scores = classification_scores(logits, labels)
    true, predicted = ([label_names[i] for i in tags.tolist()] for tags in (labels, logits.argmax(1)))
    return {
        "entity_f1": entity_f1((true[a:b], predicted[a:b]) for a, b in pairwise(sentence_offsets)),
        "token_accuracy": scores["accuracy"],
        "macro_f1": scores["macro_f1"],
        "loss": scores["loss"],
    }


def entity_f1(sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Compute micro F1 over entities: seqeval's f1_score. 0 where there is no entity.

    Args:
        sentences: The true and the predicted tags of each sentence.
    """
    right = total = 0
    for true, predicted in sentences:
        true_entities = entities(true)
        predicted_entities = entities(predicted)
        right += len(true_entities & predicted_entities)
        total += len(true_entities) + len(predicted_entities)
    return 2 * right / total if total else 0.0
