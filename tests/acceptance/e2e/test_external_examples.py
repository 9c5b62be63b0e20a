"""The examples of external studies as their users run them: a plain PyTorch loop, and the Trainer of transformers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.command_line import without_luthier
from tests.support.harness import Running, running
from tests.support.tiny import tiny_csv, tiny_model
from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[3] / "examples" / "external"


def create(house: Running, file: str, **changes: Any) -> str:
    """Create an example's study with top-level keys replaced, and return its name."""
    answer = house.client.post("/v1/studies", json=yaml.safe_load((EXAMPLES / file).read_text()) | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["name"])


def start(house: Running, folder: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start an example in a folder."""
    ours = {"LUTHIER_SERVER": house.url, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = without_luthier() | ours | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(folder)}
    with (folder / "output").open("ab") as output:
        command = [sys.executable, str(EXAMPLES / script), *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.wait(120) == 0, (folder / "output").read_text()


def test_a_pytorch_loop_that_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with running(tmp_path / "home", None) as house:
        name = create(house, "tuning.yaml", steps=40, budget={"trials": 1}, pruner={"name": "none"}, parallel=1)
        process = start(house, tmp_path, "pytorch_loop.py", name)
        until(lambda: (trials := house.trials(name)) and trials[0]["values"], seconds=60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = house.trials(name)[0]
        assert before["state"] == "running"
        assert 1 <= len(before["values"]) < 40
        house.move_clock(31)
        house.reap()
        finish(start(house, tmp_path, "pytorch_loop.py", name), tmp_path)
        (first,) = house.trials(name)
        assert first["attempt"] == 2
        assert [value["step"] for value in first["values"]] == list(range(1, 41))
        assert first["values"][: len(before["values"])] == before["values"]
        study = house.study(name)
        assert study["state"] == "completed"
        assert study["best"]["value"] > 0.9  # it learns


def test_the_trainer_reports_its_evaluations(tmp_path: Path) -> None:
    model, data = tiny_model(tmp_path / "model"), tiny_csv(tmp_path / "data.csv", rows=80)
    with running(tmp_path / "home", None) as house:
        space: dict[str, Any] = {"learning_rate": [3e-3, 1e-3], "per_device_train_batch_size": 8}
        space |= {"warmup_ratio": 0.1, "weight_decay": 0.0}
        name = create(house, "trainer.yaml", space=space, steps=2, budget={"trials": 2}, pruner={"name": "none"})
        finish(start(house, tmp_path, "trainer.py", name, str(model), str(data)), tmp_path)
        trials = house.trials(name)
        assert [trial["state"] for trial in trials] == ["complete", "complete"]
        for trial in trials:
            assert [value["step"] for value in trial["values"]] == [1, 2]
            assert {"eval_accuracy", "eval_loss"} <= set(trial["values"][0]["metrics"])
        assert house.study(name)["state"] == "completed"
