"""`luthier import FILE`: a spec of another tool's search, what was left out on stderr, no secret anywhere."""

from pathlib import Path

from luthier.studies.spec import parse_spec
from tests.support.command_line import Luthier

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


def test_a_password_is_not_shown(luthier: Luthier) -> None:
    done = luthier("import", "postgresql://user:secret@127.0.0.1:1/studies")
    assert done.returncode == 2
    assert "127.0.0.1:1/studies" in done.stderr
    assert "secret" not in done.stderr + done.stdout
