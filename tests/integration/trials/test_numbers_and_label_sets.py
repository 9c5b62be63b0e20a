"""Numbers come in the data's units, and labels above a threshold, from the search to the winner's own code."""

import contextlib
import csv
import gzip
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Comparison, Evaluation
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES
from tests.support.archives import unpack_tar
from tests.support.tiny_answers import tiny_scores, tiny_sets
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
LABELS = "text-multilabel-classification"


class Winners:
    """Trains, evaluates, unpacks and compares models of one task and one architecture."""

    def __init__(self, assign: Assign, folder: Path, task: str, source: Path, **spec: Any) -> None:
        self._assign, self._folder = assign, folder
        dataset = {"source": str(source), "validation": 0.2, "test": 0.25}
        self._spec = {"task": task, "dataset": dataset, "semantics": NEWEST_SEMANTICS, **spec}
        self.warm = ModelCache()

    def work(self, kind: AssignmentKind, params: dict[str, Any] | None = None, **fields: Any) -> Assignment:
        return self._assign(kind, spec=self._spec, params={"freeze_depth": 0, **(params or {})}, **fields)

    def winner(self, name: str, **params: Any) -> tuple[Evaluation, Path, Memory]:
        """Return the evaluation of a new winner, its unpacked folder and the session of its training."""
        session = Memory(self._folder / name)
        assert train(self.work(AssignmentKind.TRAIN, params), session, self.warm).status == "complete"
        work = self.work(AssignmentKind.EVALUATE, params, checkpoint=session.checkpoint())
        found = evaluate(work, session, self.warm)
        unpack_tar(session.folder / "model.tar.gz", session.folder / "winner")
        return found, session.folder / "winner", session

    def compared(self, champion: Path, challenger: Path) -> tuple[Comparison, list[dict[str, str]]]:
        """Return the comparison of two winners' folders, and the lines of its predictions."""
        session = Memory(self._folder / "comparison")
        refs = {}
        for side, folder in (("champion", champion), ("challenger", challenger)):
            packed = session.folder / f"{side}.tar.gz"
            packed.write_bytes((folder.parent / "model.tar.gz").read_bytes())
            refs[side] = file_ref(packed)
        found = compare(self.work(AssignmentKind.COMPARE, **refs), session, ModelCache())
        with gzip.open(session.folder / found.predictions.name, "rt") as file:
            return found, list(csv.DictReader(file))


def printed(folder: Path, example: str) -> str:
    """Return what the code on a winner's card prints for another text."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert '"A text."' in code
    with working_in(folder), contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code.replace('"A text."', repr(example)), "card", "exec"), {"__name__": "card"})
    return said.getvalue()


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.full
@pytest.mark.parametrize("architecture", ["bert", pytest.param("llama", marks=pytest.mark.full)])
def test_numbers_are_in_the_datas_units(assign: Assign, tmp_path: Path, architecture: str) -> None:
    """A BERT takes the scale in; a Llama's last layer has no bias, so that its card does it."""
    model = ARCHITECTURES[architecture].build(tmp_path / "model")
    winners = Winners(assign, tmp_path, "text-regression", tiny_scores(tmp_path, 240), model=str(model))
    inspection = inspect(winners.work(AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), winners.warm)
    assert (inspection.label_names, inspection.labels) == ([], {})
    assert inspection.majority is not None
    assert float(inspection.majority.label) == pytest.approx(45.8, abs=0.5), "always answering the mean"
    assert inspection.majority.validation["pearson"] is None
    assert inspection.majority.validation["r2"] == pytest.approx(0, abs=0.05)

    first, before, _ = winners.winner("before", epochs=1, learning_rate=1e-4)
    found, folder, _ = winners.winner("after", epochs=4, learning_rate=3e-3)
    assert found.test is not None
    assert first.test is not None
    assert found.test["pearson"] is not None
    assert found.test["pearson"] > 0.8
    assert found.test["mae"] is not None
    assert found.test["mae"] < 2.0, "the mean is off by 5"
    about = json.loads((folder / "luthier.json").read_text())["numbers"]
    config = json.loads((folder / "config.json").read_text())
    assert ("target_mean" in config) == (architecture == "llama")
    assert config["problem_type"] == "regression"

    texts = {"the film was lovely and great": 50, "the film was awful and rude": 40}
    classify = hf.pipeline("text-classification", model=str(folder), function_to_apply="none")  # type: ignore[call-overload]
    for text, number in texts.items():
        (said,) = classify(text)
        value = said["score"]
        if architecture == "llama":
            value = about["mean"] + about["deviation"] * value
        assert value == pytest.approx(number + 0.5, abs=3)
        assert float(printed(folder, text)) == pytest.approx(value, abs=1e-3)

    compared, lines = winners.compared(before, folder)
    assert compared.challenger == pytest.approx(found.test, abs=5e-3)  # ranks of nearly equal answers may change places
    assert compared.champion == pytest.approx(first.test, abs=5e-3)
    assert (compared.gained, compared.lost) == (0, 0)
    assert len(compared.exchanged) == len(compared.resampled) == 1000
    errors = [abs(float(line["label"]) - float(line["challenger"])) for line in lines]
    assert sum(errors) / len(errors) == pytest.approx(found.test["mae"], rel=1e-3)


@pytest.mark.full
def test_a_winner_is_the_base_of_another_study_in_other_units(assign: Assign, tmp_path: Path) -> None:
    source = tiny_scores(tmp_path, 120)
    winners = Winners(assign, tmp_path / "one", "text-regression", source)
    _, folder, _ = winners.winner("first", epochs=1)
    lines = list(csv.reader(source.read_text().splitlines()))
    with (tmp_path / "millions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([lines[0], *((text, float(number) * 1e6) for text, number in lines[1:])])
    again = Winners(assign, tmp_path / "two", "text-regression", tmp_path / "millions.csv", model=str(folder))
    found, _, session = again.winner("second", epochs=2)
    assert found.test is not None
    assert found.test["mae"] is not None
    assert found.test["mae"] < 6e6
    losses = [metrics["loss"] for metrics in session.metrics]
    assert losses[0] is not None
    assert losses[0] < 2, "the scale of the first study is gone"


def test_a_searched_threshold_goes_with_the_winner(assign: Assign, tmp_path: Path) -> None:
    objective = {"metric": "loss", "direction": "minimize"}  # the best evaluation is the same with any threshold
    winners = Winners(assign, tmp_path, LABELS, tiny_sets(tmp_path, 160), objective=objective)
    params = {"epochs": 2, "learning_rate": 2e-3}
    plain, half, usual = winners.winner("half", **params)
    found, folder, session = winners.winner("searched", threshold="searched", **params)
    assert plain.test is not None
    assert found.test is not None
    for mine, theirs in zip(session.metrics, usual.metrics, strict=True):
        assert mine["loss"] == theirs["loss"], "the threshold changes no training"
        assert mine["micro_f1"] is not None
        assert theirs["micro_f1"] is not None
        assert mine["micro_f1"] >= theirs["micro_f1"]
    threshold = json.loads((folder / "luthier.json").read_text())["threshold"]
    assert 0 < threshold < 1
    assert threshold != 0.5
    assert json.loads((half / "luthier.json").read_text())["threshold"] == 0.5
    assert json.loads((folder / "config.json").read_text())["label_threshold"] == threshold
    assert plain.test["map"] == pytest.approx(found.test["map"])
    assert plain.test["micro_f1"] != found.test["micro_f1"]

    compared, lines = winners.compared(half, folder)
    assert compared.champion == pytest.approx(plain.test, abs=1e-5)
    assert compared.challenger == pytest.approx(found.test, abs=1e-5)
    right = [json.loads(line["label"]) == json.loads(line["challenger"]) for line in lines]
    assert sum(right) / len(right) == pytest.approx(found.test["subset_accuracy"])

    classify = hf.pipeline("text-classification", model=str(folder), function_to_apply="sigmoid", top_k=None)  # type: ignore[call-overload]
    text = "the film was lovely and the meal was awful"
    scores = {one["label"]: one["score"] for one in classify([text])[0]}
    with torch.no_grad():
        inputs = hf.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        logits = hf.AutoModelForSequenceClassification.from_pretrained(folder)(**inputs).logits[0]
    assert scores == pytest.approx(
        dict(zip(("anger", "fear", "joy"), logits.sigmoid().tolist(), strict=True)), abs=1e-6
    )
    said = eval(printed(folder, text))
    assert set(said) == {label for label, score in scores.items() if score > threshold}


@pytest.mark.full
def test_several_labels_are_learned_better_than_the_best_constant_answer(assign: Assign, tmp_path: Path) -> None:
    objective = {"metric": "loss", "direction": "minimize"}
    winners = Winners(assign, tmp_path, LABELS, tiny_sets(tmp_path, 240), objective=objective)
    inspection = inspect(winners.work(AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), winners.warm)
    assert inspection.majority is not None
    assert json.loads(inspection.majority.label) == ["anger", "fear", "joy"]
    constant = inspection.majority.test
    assert constant is not None
    assert constant["micro_f1"] == pytest.approx(2 / 3, abs=0.05)
    assert constant["loss"] == pytest.approx(0.693, abs=0.01)
    params = {"epochs": 6, "learning_rate": 3e-3, "class_weighting": "balanced", "label_smoothing": 0.02}
    found, _, _ = winners.winner("learned", **params)
    assert found.test is not None
    assert found.test["loss"] is not None
    assert found.test["loss"] < 0.6
