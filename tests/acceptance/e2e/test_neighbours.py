"""A search over a model that reads its last place: its scores are those of each example alone."""

from pathlib import Path

import pytest
import torch
import transformers

from tests.support.archives import unpack_tar
from tests.support.peculiar import PECULIAR
from tests.support.served import Served, spec
from tests.support.tiny import tiny_csv, tiny_rows


def test_the_winners_scores_are_those_of_each_example_alone(shared: Served, tiny: Path, tmp_path: Path) -> None:
    folder = tiny / "last place"
    model = PECULIAR["reads its last place"].architecture.build(folder / "model")
    sizes = {"train": 120, "validation": 70, "test": 50}
    source = {name: str(tiny_csv(folder / f"{name}.csv", rows, seed=rows)) for name, rows in sizes.items()}
    space = {"learning_rate": [1e-3, 3e-3], "batch_size": 8, "epochs": 2, "freeze_depth": 0}
    document = spec(tiny, "last-place", model=str(model), dataset={"source": source}, space=space)
    shared.client.post("/v1/studies", json=document | {"budget": {"trials": 2}}).raise_for_status()
    study = shared.ended("last-place")
    assert study["state"] == "completed"
    assert "padding-matters" in [finding["code"] for finding in study["data"]["findings"]]

    unpack_tar(shared.client.get(study["model"]["url"]).content, tmp_path / "model")
    winner = next(path.parent for path in (tmp_path / "model").rglob("config.json"))
    best = study["best"]
    assert alone(winner, sizes["validation"])["accuracy"] == pytest.approx(best["value"], abs=1e-5)
    for name, value in alone(winner, sizes["test"]).items():
        assert value == pytest.approx(best["test"][name], abs=1e-5)
    assert transformers.AutoTokenizer.from_pretrained(winner).padding_side == "left"


@torch.no_grad()
def alone(folder: Path, rows: int) -> dict[str, float]:
    """Return the scores of a saved model on the rows of a split, each alone."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts, labels = zip(*tiny_rows(rows, seed=rows), strict=True)
    logits = torch.cat([model(**tokenizer(text, truncation=True, return_tensors="pt")).logits for text in texts])
    ids = torch.tensor([model.config.label2id[label] for label in labels])
    accuracy = float((logits.argmax(1) == ids).double().mean())
    return {"accuracy": accuracy, "loss": float(torch.nn.functional.cross_entropy(logits, ids))}
