"""`luthier run` and `luthier plan` from end to end: a real worker fine-tunes a tiny model on tiny data."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from luthier.service.cli.connect import CommandError
from luthier.service.cli.output import show
from luthier.service.cli.plan import plan_tables
from luthier.service.cli.run import judge
from luthier.service.schemas import Counts, PlanView, StudyView
from luthier.studies.protocol import StudyState
from tests.support.command_line import Luthier
from tests.support.harness import INSPECTION
from tests.support.tiny import tiny_csv, tiny_model, tiny_sentences

SPEC = """
name: tiny
task: text-classification
model: model
dataset: {source: data.csv, validation: 0.2, test: 0.2}
space:
  learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}
  batch_size: [8, 16]
  epochs: {low: 1, high: 2}
  freeze_depth: {low: 0, high: auto}
pruner: {name: median}
budget: {trials: 15}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with a model, its data, and a spec that fits both."""
    tiny_model(tmp_path / "model")
    tiny_csv(tmp_path / "data.csv", rows=120)
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return tmp_path


def _workers_of(folder: Path) -> list[str]:
    """Processes whose working directory is `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and (process / "stat").read_text().split(")")[1].split()[
                0
            ] != "Z":
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_a_study_interrupted_goes_on_to_a_model_a_person_can_use(luthier: Luthier, tiny: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run", "tiny.yaml"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a suite in the background hands on that it is not
    with subprocess.Popen(
        command,
        cwd=tiny,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,  # noqa: PLW1509
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "trial 0 complete" in line:
                break
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode == 130
    assert "The same command goes on from there" in said
    assert "Traceback" not in said
    assert _workers_of(tiny) == []

    done = luthier("run", "tiny.yaml", "--json", "--model-dir", "winner")
    assert done.returncode == 0, done.stderr
    study = json.loads(done.stdout)
    assert study["state"] == "completed"
    assert study["best"]["test"]["accuracy"] is not None
    counts = study["counts"]
    assert (counts["complete"] + counts["pruned"], counts["failed"], counts["running"]) == (15, 0, 0)
    assert {"config.json", "model.safetensors", "luthier.json"} <= {path.name for path in (tiny / "winner").iterdir()}

    again = luthier("run", "tiny.yaml")  # it has ended: shown, not run
    assert again.returncode == 0, again.stderr
    assert "Best trials" in again.stdout
    assert f"trial {study['best']['trial']}:" in again.stdout
    (folder,) = (tiny / "luthier-data" / "models").iterdir()
    assert str(folder.relative_to(tiny)) in again.stdout
    assert (folder / "model.safetensors").read_bytes() == (tiny / "winner" / "model.safetensors").read_bytes()
    assert _workers_of(tiny) == []


def test_bad_data_fails_before_any_trial_and_once_mended_the_same_command_goes_on(luthier: Luthier, tiny: Path) -> None:
    (tiny / "tiny.yaml").write_text(SPEC.replace("trials: 15", "trials: 1"))
    good = (tiny / "data.csv").read_text()
    (tiny / "data.csv").write_text("message,label\nhello,1\n")
    done = luthier("run", "tiny.yaml", "--json")
    assert done.returncode == 1, done.stderr
    study = json.loads(done.stdout)
    assert study["state"] == "failed"
    assert sum(study["counts"].values()) == 0
    assert "data.csv" in done.stderr
    assert "text" in done.stderr
    assert "Traceback" not in done.stderr
    assert "the same command starts it over" in done.stderr

    (tiny / "data.csv").write_text(good)
    done = luthier("run", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "is failed and has no trial yet; it starts over" in done.stderr
    assert json.loads(done.stdout)["counts"]["complete"] == 1


def test_data_that_goes_away_pauses_the_study_and_the_same_command_goes_on(luthier: Luthier, tiny: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run", "tiny.yaml"]
    with subprocess.Popen(command, cwd=tiny, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "trial 0 complete" in line:
                break
        moved = (tiny / "data.csv").rename(tiny / "moved.csv")
        said = running.stderr.read()
    assert running.returncode == 1
    for part in ("data.csv does not exist on this worker", "The study is paused", "the same command resumes it"):
        assert part in said
    assert "Traceback" not in said

    moved.rename(tiny / "data.csv")
    done = luthier("run", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert (counts["complete"] + counts["pruned"], counts["failed"]) == (15, 0)


@pytest.mark.parametrize("state", [StudyState.FAILED, StudyState.CANCELLED])
def test_a_study_that_ended_badly_with_trials_says_how_to_start_over(state: StudyState) -> None:
    study = StudyView(name="tiny", state=state, created_at=datetime.now(UTC), spec={}, counts=Counts(failed=1))
    with pytest.raises(CommandError, match="`luthier delete tiny`") as ended:
        judge(study)
    assert ended.value.code == 1
    assert "starts it over" not in str(ended.value)


@pytest.mark.full
def test_a_plan_of_tagged_words(luthier: Luthier, tiny: Path) -> None:
    sentences = ("\n".join(f"{word} {tag}" for word, tag in zip(*row, strict=True)) for row in tiny_sentences(60))
    (tiny / "train.conll").write_text("\n\n".join(sentences))
    spec = SPEC.replace("text-classification", "token-classification").replace("data.csv", "train.conll")
    (tiny / "tags.yaml").write_text(spec)
    done = luthier("plan", "-f", "tags.yaml", "-o", "json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["data"]["rows"] == {"train": 36, "validation": 12, "test": 12}
    assert plan["data"]["labels"]["O"] > plan["data"]["labels"]["B-JOY"] > 0
    assert plan["estimates"]["seconds_per_trial"] > 0
    (tiny / "train.conll").write_text("film O\nlovely\n")
    wrong = luthier("plan", "-f", "tags.yaml")
    assert wrong.returncode != 0
    assert "train.conll, line 2: 1 columns where others have 2" in wrong.stderr


def test_plan_without_a_service_says_what_would_run(luthier: Luthier, tiny: Path) -> None:
    done = luthier("plan", "-f", "tiny.yaml", "-o", "json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["data"]["rows"] == {"train": 72, "validation": 24, "test": 24}
    assert plan["space"]["freeze_depth"]["high"] == len(plan["models"][0]["blocks"]) == 2
    assert all(fit["fits"] and fit["memory_bytes"] > 0 for fit in plan["estimates"]["batch_sizes"])
    assert _workers_of(tiny) == []


def test_a_plan_shows_blocks_with_their_parameters_and_which_batches_fit(capsys: pytest.CaptureFixture[str]) -> None:
    plan = PlanView.model_validate(
        {
            "space": {},
            "data": {"rows": {"train": 70}, "labels": {"ham": 70}},
            "models": [
                {
                    "model": "tiny",
                    "blocks": [{"name": "layer.0", "parameters": 1_200}],
                    "trainable_parameters": [2_500, 70],
                }
            ],
            "estimates": INSPECTION.estimates.model_dump() if INSPECTION.estimates else None,
        }
    )
    show(*plan_tables(plan))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "0 - - 2,500" in lines
    assert "1 layer.0 1,200 70" in lines
    assert "8 1.0 MB yes" in lines
    assert "32 4.0 MB in 2 pieces of 16" in lines
    deep = {"model": "deep", "blocks": 3 * [{"name": "b", "parameters": 9}], "trainable_parameters": [40, 30, 20, 10]}
    show(*plan_tables(PlanView.model_validate(plan.model_dump() | {"models": [plan.models[0], deep]})))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "1.00 layer.0 1,200 70" in lines, "of several models, a depth is a fraction"
    assert "0.67 b 9 20" in lines, "of several models, a depth is a fraction"
