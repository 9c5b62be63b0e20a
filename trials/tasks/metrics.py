"""Scores of a classifier, from a few statistics of each answer.

`class_statistics` makes the statistics of some answers from their logits; the other functions reduce those of a whole
split, or of a sample of it. The scores equal scikit-learn's and seqeval's (tests compare them); those libraries are not
used because a worker would have to install them for a few lines each, and because a comparison computes thousands of
scores of the same answers, which is faster here.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch.nn import functional

from luthier.studies.wire import Metrics
from luthier.trials.data.tags import entities
from luthier.trials.tasks.number_metrics import ranks

LABEL, PREDICTED, LOG_LIKELIHOOD = "label", "predicted", "log_likelihood"
"""Names of the statistics: the true class id, the most likely one, and the true one's log probability."""


def class_statistics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the statistics of some answers.

    Args:
        logits: (units, classes), on the CPU.
        labels: (units,) class ids, on the CPU.

    Returns:
        `LABEL` and `PREDICTED`, (units,) class ids each, and `LOG_LIKELIHOOD`, (units,), float64.
    """
    logits = logits.double()
    likelihood = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return {LABEL: labels, PREDICTED: logits.argmax(1), LOG_LIKELIHOOD: likelihood}


def classification_scores(statistics: Mapping[str, torch.Tensor], classes: int) -> Metrics:
    """Compute accuracy, macro F1, Matthews correlation and mean cross-entropy.

    Macro F1 is the mean over the classes that occur in the labels or the predictions, as in scikit-learn. Matthews
    correlation is Gorodkin's R_K (2004, eq. 8), 0 where it is undefined.

    Args:
        statistics: Those of `class_statistics`.
        classes: Number of classes.

    Returns:
        accuracy, macro_f1, matthews and loss; a loss that is not finite is None.
    """
    labels = statistics[LABEL]
    count = len(labels)
    confusion = torch.bincount(labels * classes + statistics[PREDICTED], minlength=classes * classes)
    confusion = confusion.reshape(classes, classes).double()  # (true, predicted)
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurring = true + predicted > 0
    f1 = 2 * right[occurring] / (true + predicted)[occurring]
    covariance = right.sum() * count - (true * predicted).sum()
    spread = ((count**2 - (true**2).sum()) * (count**2 - (predicted**2).sum())).sqrt()
    # torch's own mean of the units' losses, which sums in an order of its own.
    loss = functional.nll_loss(statistics[LOG_LIKELIHOOD][:, None], torch.zeros_like(labels))
    return {
        "accuracy": float(right.sum() / count),
        "macro_f1": float(f1.mean()),
        "matthews": float(covariance / spread) if spread > 0 else 0.0,
        "loss": float(loss) if torch.isfinite(loss) else None,
    }


def among_highest(logits: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """Return for each example whether its label is among the `k` highest logits, (examples,) booleans.

    Args:
        logits: (examples, classes).
        labels: (examples,) class ids.
        k: How many of the highest logits count; all of them where there are fewer classes.
    """
    highest = logits.topk(min(k, logits.shape[1])).indices  # (examples, k)
    return (highest == labels[:, None]).any(1)


def ranking(logits: torch.Tensor) -> torch.Tensor:
    """Return the scores by which `auc` ranks examples.

    Args:
        logits: (examples, classes).

    Returns:
        Of two classes (examples,), the log odds of class 1, float64; of more (examples, classes), a score a class.
    """
    if logits.shape[1] != 2:
        return logits
    return logits[:, 1].double() - logits[:, 0].double()


def class_ranks(scores: torch.Tensor) -> torch.Tensor:
    """Return the examples' ranks by each class's probability, in the shape of the scores.

    Args:
        scores: Those of `ranking`, finite.
    """
    if scores.ndim == 1:
        return ranks(scores)
    return torch.stack([*map(ranks, scores.double().softmax(1).T)], 1)


def auc(scores: torch.Tensor, labels: torch.Tensor, ranked: bool = False) -> float | None:
    """Compute the area under the ROC curve of class 1's probability; of more classes the mean over one-versus-rest.

    The area is computed from ranks (Hanley and McNeil 1982), with ties counted half. A class that no example or every
    example has is left out, because it has no curve. It is no sum over examples, so it needs every example's scores.

    Args:
        scores: Those of `ranking`.
        labels: (examples,) class ids.
        ranked: The scores are those of `class_ranks`.

    Returns:
        The area, or None where no class has a curve or a score is not finite.
    """
    if not torch.isfinite(scores).all():
        return None
    columns = (
        [(1, scores)] if scores.ndim == 1 else enumerate((scores if ranked else scores.double().softmax(1)).unbind(1))
    )
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


def entity_counts(sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> torch.Tensor:
    """Count the entities of each sentence, (sentences, 2): those that are right, and all that are true or predicted.

    Args:
        sentences: The true and the predicted tags of each sentence.
    """
    counts = []
    for true, predicted in sentences:
        true_entities, predicted_entities = entities(true), entities(predicted)
        counts.append((len(true_entities & predicted_entities), len(true_entities) + len(predicted_entities)))
    return torch.tensor(counts, dtype=torch.long).reshape(-1, 2)


def entity_f1(counts: torch.Tensor) -> float:
    """Compute micro F1 over entities: seqeval's f1_score. 0 where there is no entity.

    Args:
        counts: (sentences, 2), those of `entity_counts`.
    """
    right, total = counts.sum(0).tolist()
    return 2 * right / total if total else 0.0
