"""Real models learn real data: each task reaches a known accuracy within a study of a few trials, as users run it.

    make test-learning

What they need is fetched into `models/` and `data/` by examples/fetch.py, once.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.learned import fetch, learned

pytestmark = [pytest.mark.learning, pytest.mark.timeout(900)]

NOISE = 0.15  # the test splits hold 80 to 450 examples; the one of sounds holds other kits

TREC = {
    "task": "text-classification",
    "model": "models/minilm",
    "dataset": {"source": "data/trec.csv", "limit": 1200, "validation": 0.2, "test": 0.2},
    "space": {"learning_rate": {"low": 1e-4, "high": 3e-4, "log": True}, "batch_size": 8, "epochs": 2},
}
STS = {
    "task": "text-classification",
    "model": "models/minilm",
    "dataset": {
        "source": {split: f"data/sts/{split}.csv" for split in ("train", "validation", "test")},
        "columns": {"text_pair": "text_pair"},
        "limit": 3000,
    },
    "space": {"learning_rate": {"low": 1e-4, "high": 3e-4, "log": True}, "batch_size": 16, "epochs": 1},
    "budget": {"trials": 2},
}
CIFAR10 = {
    "task": "image-classification",
    "model": "models/mobilenet_v2",
    "dataset": {"source": "data/cifar10", "validation": 0.2, "test": 0.2},
    "space": {"learning_rate": {"low": 3e-4, "high": 3e-3, "log": True}, "batch_size": 16, "epochs": 2},
}
DRUMS = {
    "task": "audio-classification",
    "model": "models/whisper_encoder",
    "dataset": {"source": "data/drums.csv", "columns": {"group": "kit"}, "validation": 0.25, "test": 0.2},
    "space": {"learning_rate": {"low": 1e-4, "high": 5e-4, "log": True}, "batch_size": 16, "epochs": 6},
}


@pytest.mark.parametrize(
    ("name", "spec", "needs", "accuracy"),
    [
        pytest.param("trec", TREC, ["minilm", "trec"], 0.85, id="MiniLM on TREC"),
        pytest.param("sts", STS, ["minilm", "sts"], 0.75, id="MiniLM on STS-B pairs"),
        pytest.param("cifar10", CIFAR10, ["mobilenet_v2", "cifar10"], 0.55, id="MobileNetV2 on CIFAR-10"),
        pytest.param("drums", DRUMS, ["whisper_encoder", "drums"], 0.80, id="Whisper encoder on drum sounds"),
    ],
)
def test_it_learns(name: str, spec: dict[str, Any], needs: list[str], accuracy: float, tmp_path: Path) -> None:
    """The best of two or three trials does on validation data, and its model on test data it is not far off."""
    fetch(*needs)
    best = learned(name, {"budget": {"trials": 3}} | spec, tmp_path)["best"]
    assert best["value"] >= accuracy
    assert best["test"]["accuracy"] >= accuracy - NOISE
