"""The scores are scikit-learn's."""

import math
import random
import warnings

import pytest
import torch

from luthier.trials.data.tags import entities
from luthier.trials.tasks.metrics import auc, classification_scores, entity_f1, tag_scores


@pytest.mark.parametrize(("classes", "rows", "seed"), [(2, 50, 0), (3, 40, 1), (6, 30, 2), (20, 25, 3)])
def test_scores_equal_scikit_learns(classes: int, rows: int, seed: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=draw)
    logits = torch.randn(rows, classes, generator=draw) + 2 * torch.nn.functional.one_hot(labels, classes)
    predicted, found = logits.argmax(1).numpy(), classification_scores(logits, labels)
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
    found = classification_scores(torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 0, 1, 1]))
    assert found["accuracy"] == 0.5
    assert found["matthews"] == 0.0
    assert found["macro_f1"] == pytest.approx(1 / 3)


def test_a_loss_that_is_not_finite_is_none() -> None:
    found = classification_scores(torch.tensor([[math.nan, 0.0]]), torch.tensor([1]))
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
        assert auc(logits, labels) == pytest.approx(roc_auc_score(labels, shares[:, 1]))
    else:
        assert auc(logits, labels) == pytest.approx(roc_auc_score(labels, shares, multi_class="ovr"))


def test_auc_is_of_the_classes_that_occur() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 2.0, 3.0]])
    assert auc(logits, torch.tensor([0, 1, 1])) == pytest.approx((1.0 + 0.75) / 2)
    assert auc(logits, torch.tensor([1, 1, 1])) is None
    assert auc(torch.tensor([[math.nan, 0.0]] * 2), torch.tensor([0, 1])) is None


KINDS = ("PER", "LOC", "MISC")


@pytest.mark.parametrize("prefixes", ["BI", "I", "BIES"])
@pytest.mark.parametrize("seed", range(3))
def test_entity_f1_is_seqevals(prefixes: str, seed: int) -> None:
    from seqeval.metrics import f1_score

    draw = random.Random(seed)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in KINDS)]
    true = [draw.choices(tags, k=draw.randint(1, 12)) for _ in range(60)]  # mostly malformed: read as conlleval does
    predicted = [[tag if draw.random() < 0.7 else draw.choice(tags) for tag in row] for row in true]
    found = entity_f1(zip(true, predicted, strict=True))
    assert 0.2 < found < 0.9
    assert found == pytest.approx(f1_score(true, predicted))
    assert entity_f1(zip(true, true, strict=True)) == 1.0
    assert entity_f1([(["O"], ["O"])]) == 0.0


def test_entities_of_other_schemes() -> None:
    assert entities(["U-PER", "B-LOC", "I-LOC", "L-LOC", "O", "U-PER", "U-PER"]) == {
        (0, 1, "PER"), (1, 4, "LOC"), (5, 6, "PER"), (6, 7, "PER"),
    }  # fmt: skip
    assert entities(["noun", "noun", "verb"]) == {(0, 2, "noun"), (2, 3, "verb")}


def test_entities_end_with_their_sentence() -> None:
    names, labels = ["O", "B-PER", "I-PER"], torch.tensor([1, 2, 2, 0])
    logits = torch.nn.functional.one_hot(torch.tensor([1, 2, 2, 0])).float()
    assert tag_scores(logits, labels, [0, 4], names)["entity_f1"] == 1.0
    wrong = torch.nn.functional.one_hot(torch.tensor([1, 2, 0, 0]), 3).float()
    found = tag_scores(wrong, labels, [0, 4], names)
    assert found["entity_f1"] == 0.0
    assert found["token_accuracy"] == 0.75
    assert tag_scores(wrong, labels, [0, 2, 4], names)["entity_f1"] == pytest.approx(2 / 3)
