"""The scores are scikit-learn's."""

import math
import warnings

import pytest
import torch

from trials.metrics import classification_scores


@pytest.mark.parametrize("classes, rows, seed", [(2, 50, 0), (3, 40, 1), (6, 30, 2), (20, 25, 3)])
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
    assert found["accuracy"] == 0.5 and found["matthews"] == 0.0 and found["macro_f1"] == pytest.approx(1 / 3)


def test_a_loss_that_is_not_finite_is_none() -> None:
    found = classification_scores(torch.tensor([[math.nan, 0.0]]), torch.tensor([1]))
    assert found["loss"] is None
    assert all(math.isfinite(value) for value in found.values() if value is not None)
