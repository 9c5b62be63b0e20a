"""The worked example of docs/adding_a_task.md is whole: its code runs through every job as it stands there."""

import csv
import json
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.studies import task as entries
from luthier.studies import tasks
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.errors import BadData
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.paths import ROOT
from tests.support.tiny import tiny_rows
from tests.support.trials import Memory

NAME = "luthier.trials.tasks.text_count"


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Register the page's task; return its data: sentences with 1 or 8 for their class, and some more by turns."""
    page = (ROOT / "docs" / "adding_a_task.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```python (\w+)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    module = types.ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(blocks["code"], "docs/adding_a_task.md", "exec"), module.__dict__)
    entry = eval(blocks["entry"], vars(entries).copy())
    monkeypatch.setitem(tasks.TASKS, entry.name, entry)  # type: ignore[arg-type]
    with (tmp_path / "counts.csv").open("w", newline="") as file:
        counts = [(text, (8 if label == "joy" else 1) + i % 2) for i, (text, label) in enumerate(tiny_rows(120))]
        csv.writer(file).writerows([("text", "label"), *counts])
    return tmp_path / "counts.csv"


@pytest.mark.full
def test_it_runs_through_every_job(assign: Callable[..., Assignment], source: Path, tmp_path: Path) -> None:
    given = {"spec": {"task": "text-count", "dataset": {"source": str(source)}}, "params": {"epochs": 8}}
    warm, session = ModelCache(), Memory(tmp_path / "session")
    found = inspect(assign(AssignmentKind.INSPECT, **given), Memory(tmp_path / "inspection"), warm)
    assert found.majority is not None
    assert train(assign(**given), session, warm).status == "complete"
    evaluation = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **given), session, warm)
    assert evaluation.test is not None
    assert found.majority.test is not None
    (mine, constant) = (scores["deviance"] for scores in (evaluation.test, found.majority.test))
    assert mine is not None
    assert constant is not None
    assert mine < constant / 2
    unpack_tar(session.folder / "model.tar.gz", tmp_path / "winner")
    assert "math.exp(measure(" in (tmp_path / "winner" / "README.md").read_text()
    assert json.loads((tmp_path / "winner" / "config.json").read_text())["problem_type"] == "regression"


def test_it_refuses_what_is_no_count(assign: Callable[..., Assignment], source: Path) -> None:
    source.write_text("text,label\na film,1\nno film,-2\n")
    given = {"task": "text-count", "dataset": {"source": str(source)}}
    with pytest.raises(BadData, match=r"row 2 .*write a whole number from 0 on"):
        ModelCache().open(assign(spec=given))
