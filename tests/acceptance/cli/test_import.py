"""`luthier import FILE`: a spec of another tool's search, what was left out on stderr, no secret anywhere."""

from pathlib import Path

import pytest
import yaml

from luthier.service.client.old_trials import with_file_read
from luthier.studies.documents import load_document
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.command_line import Luthier
from tests.support.optuna_study import optuna_study

SWEEP = """
program: rm -rf /
method: random
metric: {name: val_acc, goal: maximize}
parameters: {lr: {min: 1.0e-5, max: 1.0e-3}, width: {value: 3}}
run_cap: 7
"""


def test_a_sweep_with_data_becomes_a_whole_spec(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"some words of row {i},{i % 2}\n" for i in range(40)))
    done = luthier("import", "sweep.yaml", "--data", "rows.csv", "-o", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert "left out: parameters.width: no hyperparameter here is called width" in done.stderr
    spec = parse_spec((tmp_path / "study.yaml").read_text())
    assert (spec.name, spec.task, spec.budget.trials, spec.sampler.name) == (
        "sweep",
        "text-classification",
        7,
        "random",
    )


def test_a_spec_is_never_written_over_the_document_that_it_is_made_of(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP + '"a\\u2028evil: 1\\u0085seed: 3\\e[31m": 1\n')
    before = (tmp_path / "sweep.yaml").read_bytes()
    done = luthier("import", "sweep.yaml")
    assert (done.returncode, "sweep-spec.yaml is written" in done.stderr) == (0, True), done.stderr
    assert (tmp_path / "sweep.yaml").read_bytes() == before
    written = (tmp_path / "sweep-spec.yaml").read_text()
    assert "evil" in written, "a key of the document is in a comment, and stays there"
    assert set(load_document(written)) == {"name", "objective", "space", "sampler", "budget"}


def test_a_password_is_not_shown(luthier: Luthier) -> None:
    done = luthier("import", "postgresql://user:secret@127.0.0.1:1/studies")
    assert done.returncode == 2
    assert "127.0.0.1:1/studies" in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_trials_of_an_optuna_study_may_be_tried_first(luthier: Luthier, tmp_path: Path) -> None:
    optuna_study(f"sqlite:///{tmp_path / 'mine.db'}")
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"some words of row {i},{i % 2}\n" for i in range(40)))
    done = luthier("import", "mine.db", "--data", "rows.csv", "-o", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "study.trials.csv has its 4 trials; `luthier create study.yaml --import study.trials.csv` tries the best first."
    )
    document = yaml.safe_load((tmp_path / "study.yaml").read_text())
    read = with_file_read(document | {"from": {"file": str(tmp_path / "study.trials.csv")}})
    origin = StudySpec.model_validate(read).origin
    assert origin is not None
    rates = [(trial.params["learning_rate"], trial.value) for trial in origin.trials or []]
    assert rates == sorted(((value, value) for _, value in rates), reverse=True)
    assert len(rates) == 3, "the pruned one is left out"
