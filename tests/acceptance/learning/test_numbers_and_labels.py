"""Real models learn real numbers and labels, better than the mean and the best constant set of labels do.

make test-learning
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

pytestmark = [pytest.mark.learning, pytest.mark.timeout(900)]

SPACE = {"learning_rate": {"low": 1e-4, "high": 3e-4, "log": True}, "batch_size": 16, "max_length": 48}
STS_SCORES = {
    "task": "text-regression",
    "model": "models/minilm",
    "dataset": {
        "source": {split: f"data/sts_scores/{split}.csv" for split in ("train", "validation", "test")},
        "columns": {"text_pair": "text_pair"},
        "limit": 2400,
    },
    "space": SPACE | {"epochs": 1},
}
PACKAGE_TAGS = {
    "task": "text-multilabel-classification",
    "model": "models/minilm",
    "dataset": {"source": "data/package_tags.csv", "label_separator": "|", "limit": 1500},
    "space": SPACE | {"epochs": 3, "threshold": "searched"},
}


@pytest.mark.parametrize(
    ("name", "spec", "metric", "least", "margin"),
    [
        pytest.param("sts_scores", STS_SCORES, "r2", 0.45, 0.4, id="MiniLM on the similarity of sentences"),
        pytest.param("package_tags", PACKAGE_TAGS, "map", 0.22, 0.1, id="MiniLM on the tags of packages"),
    ],
)
def test_it_learns(name: str, spec: dict[str, Any], metric: str, least: float, margin: float, tmp_path: Path) -> None:
    """The winner's test score is high, and so much above that of the constant answer."""
    subprocess.run([sys.executable, str(ROOT / "examples" / "fetch.py"), "minilm", name], check=True)
    file = tmp_path / "study.json"
    study = {"name": name.replace("_", "-"), "budget": {"trials": 2}, "pruner": {"name": "none"}, **spec}
    file.write_text(json.dumps(study))
    command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run", str(file), "--json"]
    environment = os.environ | {"LUTHIER_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(ran.stdout)
    test, constant = found["best"]["test"], found["majority"]["test"]
    print(f"{name}: {test}, always the same answer: {constant}")
    assert test[metric] >= least
    assert test[metric] >= constant[metric] + margin
