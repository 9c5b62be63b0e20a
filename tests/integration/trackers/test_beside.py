"""`luthier run --track`: a real search, told while it runs; a tracker that fails does not end it."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import command_in
from tests.support.tiny import tiny_csv, tiny_model

pytestmark = [pytest.mark.trackers, pytest.mark.timeout(300)]
SPEC = """
name: tiny
task: text-classification
model: model
dataset: {source: data.csv, validation: 0.2, test: 0.2}
space: {learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}, batch_size: [16]}
pruner: {name: none}
budget: {trials: 2}
"""


def test_a_run_is_told_to_one_tracker_while_another_fails(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    tiny_csv(tmp_path / "data.csv", rows=60)
    (tmp_path / "tiny.yaml").write_text(SPEC)
    luthier = command_in(tmp_path)
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ended = luthier("run", "tiny.yaml", "--json", "--track", "tensorboard", "--track", "mlflow", **away)
    assert ended.returncode == 0, ended.stderr
    study = json.loads(ended.stdout)
    assert study["state"] == "completed"
    assert len([line for line in ended.stderr.splitlines() if line.startswith("MLflow is told no more of tiny")]) == 1
    folders = sorted(path.name for path in tmp_path.glob("runs/tiny-*/trial-*"))
    assert folders == ["trial-0", "trial-1"]
    assert luthier("run", "tiny.yaml", "--track", "neptune").returncode == 2
