"""The scores are scikit-learn's."""

import math
import random
import warnings

import pytest
import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.tags import entities
from luthier.trials.tasks.metrics import (
    auc,
    class_statistics,
    classification_scores,
    entity_counts,
    entity_f1,
    ranking,
)
from luthier.trials.tasks.statistics import Statistics


def scores(logits: torch.Tensor, labels: torch.Tensor) -> Metrics:
    return classification_scores(class_statistics(logits, labels), logits.shape[1])


@pytest.mark.parametrize(("classes", "rows", "seed"), [(2, 50, 0), (3, 40, 1), (6, 30, 2), (20, 25, 3)])
def test_scores_equal_scikit_learns(classes: int, rows: int, seed: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=draw)
    logits = torch.randn(rows, classes, generator=draw) + 2 * torch.nn.functional.one_hot(labels, classes)
    predicted, found = logits.argmax(1).numpy(), scores(logits, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32 probabilities do not sum to 1 exactly enough for it
        loss = log_loss(labels.numpy(), logits.double().softmax(1).numpy(), labels=list(range(classes)))
    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
            "matthews": matthews_corrcoef(labels, predicted),
            "loss": loss,
        }
    )


def test_one_predicted_class_has_no_correlation() -> None:
    found = scores(torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 0, 1, 1]))
    assert found["accuracy"] == 0.5
    assert found["matthews"] == 0.0
    assert found["macro_f1"] == pytest.approx(1 / 3)


def test_a_loss_that_is_not_finite_is_none() -> None:
    found = scores(torch.tensor([[math.nan, 0.0]]), torch.tensor([1]))
    assert found["loss"] is None
    assert all(math.isfinite(value) for value in found.values() if value is not None)


@pytest.mark.parametrize(("classes", "rows", "seed"), [(2, 50, 0), (3, 40, 1), (6, 60, 2)])
def test_auc_equals_scikit_learns(classes: int, rows: int, seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=draw)
    logits = torch.randn(rows, classes, generator=draw).round()  # many ties
    shares = logits.double().softmax(1)
    if classes == 2:
        assert auc(ranking(logits), labels) == pytest.approx(roc_auc_score(labels, shares[:, 1]))
    else:
        assert auc(ranking(logits), labels) == pytest.approx(roc_auc_score(labels, shares, multi_class="ovr"))


def test_auc_is_of_the_classes_that_occur() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 2.0, 3.0]])
    assert auc(ranking(logits), torch.tensor([0, 1, 1])) == pytest.approx((1.0 + 0.75) / 2)
    assert auc(ranking(logits), torch.tensor([1, 1, 1])) is None
    assert auc(ranking(torch.tensor([[math.nan, 0.0]] * 2)), torch.tensor([0, 1])) is None


KINDS = ("PER", "LOC", "MISC")


@pytest.mark.parametrize("prefixes", ["BI", "I", "BIES"])
@pytest.mark.parametrize("seed", range(3))
def test_entity_f1_is_seqevals(prefixes: str, seed: int) -> None:
    from seqeval.metrics import f1_score

    draw = random.Random(seed)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in KINDS)]
    true = [draw.choices(tags, k=draw.randint(1, 12)) for _ in range(60)]  # mostly malformed: read as conlleval does
    predicted = [[tag if draw.random() < 0.7 else draw.choice(tags) for tag in row] for row in true]
    found = entity_f1(entity_counts(zip(true, predicted, strict=True)))
    assert 0.2 < found < 0.9
    assert found == pytest.approx(f1_score(true, predicted))
    assert entity_f1(entity_counts(zip(true, true, strict=True))) == 1.0
    assert entity_f1(entity_counts([(["O"], ["O"])])) == 0.0


def test_entities_of_other_schemes() -> None:
    assert entities(["U-PER", "B-LOC", "I-LOC", "L-LOC", "O", "U-PER", "U-PER"]) == {
        (0, 1, "PER"), (1, 4, "LOC"), (5, 6, "PER"), (6, 7, "PER"),
    }  # fmt: skip
    assert entities(["noun", "noun", "verb"]) == {(0, 2, "noun"), (2, 3, "verb")}


def test_entities_end_with_their_sentence() -> None:
    true, wrong = ["B-PER", "I-PER", "I-PER", "O"], ["B-PER", "I-PER", "O", "O"]
    assert entity_f1(entity_counts([(true, true)])) == 1.0
    assert entity_f1(entity_counts([(true, wrong)])) == 0.0
    assert entity_f1(entity_counts([(true[:2], wrong[:2]), (true[2:], wrong[2:])])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (63, 2), (1000, 5), (4099, 40)])
def test_scores_of_batches_are_those_of_all_logits_to_the_last_bit(rows: int, classes: int) -> None:
    draw = torch.Generator().manual_seed(rows)
    logits, labels = torch.randn(rows, classes, generator=draw) * 3, torch.randint(classes, (rows,), generator=draw)
    parts = [class_statistics(logits[i : i + 64], labels[i : i + 64]) for i in range(0, rows, 64)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    found = classification_scores(joined, classes)
    assert found["loss"] == float(torch.nn.functional.cross_entropy(logits.double(), labels))
    assert found["accuracy"] == float((logits.argmax(1) == labels).double().mean())
    assert found == scores(logits, labels)


def test_statistics_of_samples_are_those_of_their_units() -> None:
    """Examples of 2, 0, 1 and 3 units; the example without units has nothing to take."""
    offsets = torch.tensor([0, 2, 2, 3, 6])
    found = Statistics({"unit": torch.arange(6)}, {"example": torch.arange(4) * 10}, offsets)
    taken = found.take(torch.tensor([3, 0, 1, 3]))
    assert (len(taken), taken.unit_count) == (4, 8)
    assert taken.units["unit"].tolist() == [3, 4, 5, 0, 1, 3, 4, 5]
    assert taken.examples["example"].tolist() == [30, 0, 10, 30]
    both = found.joined(taken)
    again = both.take(torch.tensor([4, 2]))
    assert again.units["unit"].tolist() == [3, 4, 5, 2]
    assert again.offsets is not None
    assert again.offsets.tolist() == [0, 3, 4]
    alone = Statistics({"unit": torch.arange(3)}, {}).take(torch.tensor([2, 2]))
    assert (len(alone), alone.units["unit"].tolist(), alone.offsets) == (2, [2, 2], None)
