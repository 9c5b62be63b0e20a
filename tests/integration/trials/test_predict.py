"""Predictions for a user's table: of every task, the answers that a fresh process gets from the packed model."""

import csv
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from sklearn import metrics

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.tasks import TASKS
from luthier.studies.winner_tables import Results
from luthier.trials.data.unlabelled import read_unlabelled
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs import reload
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.packed_model import unpack
from luthier.trials.jobs.predict import FILE_NAME, predict
from luthier.trials.jobs.train import train
from luthier.trials.tasks.usage import Usage
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
PARAMS = {"epochs": 1, "batch_size": 8}
ONE_OF_EACH = {found.task: name for name, found in reversed(ARCHITECTURES.items())}
FIRST = ("text-regression", "token-classification", "text2text-generation")  # the others take no other way
ROWS = 6


class Winner:
    """A packed model of a tiny study, and how its users use it."""

    def __init__(self, assign: Assign, folder: Path, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any]) -> None:
        spec = spec | {"semantics": NEWEST_SEMANTICS}
        self.assign, self.spec, self.folder = assign, spec, folder
        session, warm = Memory(folder / "winner"), ModelCache()
        train(assign(spec=spec, params=PARAMS), session, warm)
        usages: list[Usage] = []
        monkeypatch.setattr(reload, "check", lambda archive, recorded, work, session: usages.append(recorded.usage))
        work = assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), spec=spec, params=PARAMS)
        results = evaluate(work, session, warm).results
        assert results is not None
        self.results = results
        (self.usage,) = usages
        self.archive = session.folder / "model.tar.gz"
        self.opened = warm.open(work)

    def predict(self, name: str, content: bytes, folder: str = "prediction") -> list[dict[str, str]]:
        """Return the rows of the file of predictions for a table."""
        session = Memory(self.folder / folder)
        (session.folder / "model.tar.gz").write_bytes(self.archive.read_bytes())
        (session.folder / name).write_bytes(content)
        refs = {"packed": file_ref(session.folder / "model.tar.gz"), "table": file_ref(session.folder / name)}
        self.found = predict(self.assign(AssignmentKind.PREDICT, spec=self.spec, **refs), session, ModelCache())
        assert self.found.file == file_ref(session.folder / FILE_NAME)
        assert {path.name for path in session.folder.iterdir()} == {"model.tar.gz", name, FILE_NAME}
        with (session.folder / FILE_NAME).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def as_used(self, name: str) -> list[list[dict[str, Any]]]:
        """Return the answers to the same rows of the model as its card has it loaded and used."""
        usage, work = self.usage, self.folder / "unpacked"
        work.mkdir()
        packed = unpack(self.archive.parent, file_ref(self.archive), work, self.spec["task"])
        auto = getattr(transformers, usage.auto)
        model = auto.from_pretrained(packed.folder, use_safetensors=True)
        use = usage.function(model, str(packed.folder), usage.tag, usage.kind, **usage.options)
        spec = self.assign(spec=self.spec).spec
        examples = read_unlabelled(self.folder / "prediction" / name, name, spec, packed.targets).examples
        given = self.opened.task.given
        with torch.no_grad():
            return [list(use(given(self.opened.pretrained, examples, i, 5_000))) for i in range(len(examples))]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if task in FIRST else pytest.mark.full) for task, name in ONE_OF_EACH.items()],
)
def test_the_answers_are_those_of_the_packed_model(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = ARCHITECTURES[name].task
    data = tiny_data(task, tmp_path / "data")
    source = {"source": str(data), "validation": 0.25, "test": 0.25}
    winner = Winner(
        assign,
        tmp_path,
        monkeypatch,
        {"task": task, "model": str(ARCHITECTURES[name].build(tmp_path / "model")), "dataset": source},
    )
    rows = [
        {column: value for column, value in record.items() if column in inputs_of(task)} | {"id": i}
        for i, record in enumerate(records_of(data)[:ROWS])
    ]
    found = winner.predict("table.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert [int(row["id"]) for row in found] == list(range(len(rows)))
    assert (winner.found.rows, winner.found.unreadable) == (len(rows), 0)
    for row, units in zip(found, winner.as_used("table.jsonl"), strict=True):
        same(task, row, units)
    for tables in (winner.results.validation, winner.results.test):
        if tables is not None:
            assert 0 < len(tables.worst) <= tables.rows
            assert bool(tables.classes) == bool(winner.opened.data.label_names and task != "object-detection")
            losses = [one.loss for one in tables.worst if one.loss is not None]
            assert losses == sorted(losses, reverse=True)
    assert winner.results.test is not None


def records_of(data: Path) -> list[dict[str, Any]]:
    with data.open(newline="", encoding="utf-8") as file:
        if data.suffix == ".json":
            texts = [text for article in json.load(file)["data"] for text in article["paragraphs"]]
            return [asked | {"context": text["context"]} for text in texts for asked in text["qas"]]
        return [json.loads(line) for line in file] if data.suffix == ".jsonl" else list(csv.DictReader(file))


def inputs_of(task: str) -> set[str]:
    return {role.column for role in TASKS[task].columns.values() if role.reads != "target"}


def same(task: str, row: dict[str, str], units: list[dict[str, Any]]) -> None:
    """Assert that a row of the file is what the packed model answers."""
    first = units[0] if units else {}
    if task == "token-classification":
        assert json.loads(row["prediction"]) == [max(unit, key=unit.__getitem__) for unit in units]
        assert json.loads(row["score"]) == pytest.approx([max(unit.values()) for unit in units], abs=1e-5)
    elif "multilabel" in task:
        assert json.loads(row["prediction"]) == [label for label, score in first.items() if score >= 0.5]
    elif task.endswith("classification"):
        assert row["prediction"] == max(first, key=first.__getitem__)
        assert float(row["score"]) == pytest.approx(max(first.values()), abs=1e-5)
    elif task.endswith("regression"):
        assert float(row["prediction"]) == pytest.approx(next(iter(first.values())), rel=1e-4, abs=1e-4)
    elif task == "question-answering":
        assert row["prediction"] == first["answer"]
        assert float(row["score"]) == pytest.approx(first["score"], abs=1e-4)
    elif task == "object-detection":
        shown = [unit for unit in units if unit["score"] >= 0.5]
        assert [one["label"] for one in json.loads(row["prediction"])] == [unit["label"] for unit in shown]
    elif task == "image-segmentation":
        assert {column for column in row if column.startswith("score_")} == {f"score_{label}" for label in first}
    elif "prediction" in row:
        assert row["prediction"] == first["text"]
    else:
        assert float(row["loss"]) == pytest.approx(first["loss"], abs=1e-4)
    for label, score in first.items():
        if f"score_{label}" in row:
            assert float(row[f"score_{label}"]) == pytest.approx(score, abs=1e-5)


def texts_winner(assign: Assign, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Winner:
    data = tiny_data("text-classification", folder / "data", rows=40)
    model = str(ARCHITECTURES["bert"].build(folder / "model"))
    spec = {"task": "text-classification", "model": model, "dataset": {"source": str(data)}}
    return Winner(assign, folder, monkeypatch, spec)


def test_every_table_is_answered_or_refused_in_a_sentence(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = texts_winner(assign, tmp_path, monkeypatch)
    texts = ["a lovely film", "", "an awful day", "  ", "a lovely film"]
    table = "id;text;prediction\n" + "".join(f"{i};{text};old\n" for i, text in enumerate(texts))
    found = winner.predict("table.csv", table.encode(), "semicolons")
    assert (winner.found.rows, winner.found.unreadable) == (5, 2)
    assert [row["id"] for row in found] == ["0", "1", "2", "3", "4"], "rows keep their order"
    assert {row["prediction"] for row in found} == {"old"}, "the table's own columns are kept"
    assert [row["prediction (predicted)"] != "" for row in found] == [True, False, True, False, True]
    assert [row["problem"] for row in found if not row["score"]] == [
        "row 2 (line 3): column 'text' is empty; fill it in or remove the row.",
        "row 4 (line 5): column 'text' is empty; fill it in or remove the row.",
    ]
    assert found[0] | {"id": ""} == found[4] | {"id": ""}, "the same text gets the same answer"
    for name, content, told in (
        ("columns.csv", b"message,id\nhello,1\n", "has no column 'text' for text; its columns are message, id. Rename"),
        ("none.csv", b"text,id\n", "no rows"),
        ("empty.csv", b"", "empty"),
        ("cut.json", b'[{"text": "a film"}, {"te', "not valid JSON"),
        ("binary.csv", bytes(range(256)), "binary.csv"),
        ("cut.parquet", b"PAR1\x00\x01", "cut.parquet"),
    ):
        with pytest.raises(BadData) as problem:
            winner.predict(name, content, name.replace(".", "-"))
        assert told in problem.value.message
        assert problem.value.path == []
    unusable = winner.predict("all.csv", b"text,id\n,1\n,2\n", "nothing")
    assert [row["prediction"] for row in unusable] == ["", ""], "no row can be used: no model is loaded"


def test_the_tables_of_a_classifier_are_those_of_scikit_learn(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = texts_winner(assign, tmp_path, monkeypatch)
    splits, names = winner.opened.data.splits, winner.opened.data.label_names
    for split, tables in (("validation", winner.results.validation), ("test", winner.results.test)):
        assert tables is not None
        examples = splits[split]
        rows = [{"text": text} for text in examples.columns["text"]]
        said = winner.predict("table.jsonl", "\n".join(map(json.dumps, rows)).encode(), split)
        true = [names[label] for label in examples.targets]
        predicted = [row["prediction"] for row in said]
        scores = metrics.precision_recall_fscore_support(true, predicted, labels=names, zero_division=0)
        for one in tables.classes:
            i = names.index(one.label)
            ours = (one.precision or 0.0, one.recall or 0.0, one.f1 or 0.0, one.support)
            assert ours == pytest.approx([values[i] for values in scores])
        assert tables.confusion is not None
        assert tables.confusion.counts == metrics.confusion_matrix(true, predicted, labels=names).tolist()
        assert tables.metrics["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted))
        assert tables.calibration is not None
        assert sum(one.count for one in tables.calibration.bins) == tables.rows == len(examples)
        right = [t == p for t, p in zip(true, predicted, strict=True)]
        gap = 0.0
        for low in range(10):
            inside = [(float(row["score"]), ok) for row, ok in zip(said, right, strict=True)]
            inside = [(score, ok) for score, ok in inside if low / 10 <= score < (low + 1) / 10]
            gap += abs(sum(score - ok for score, ok in inside)) / len(said)
        assert tables.calibration.expected_error == pytest.approx(gap, abs=1e-5)
        least = min(range(len(said)), key=lambda i: float(said[i]["score"]))
        assert tables.uncertain[0].input == examples.columns["text"][least]
        assert tables.worst[0].loss == max(one.loss or 0.0 for one in tables.worst)
    with tarfile.open(winner.archive) as archive:
        kept = archive.extractfile("results.json")
        assert kept is not None
        assert Results.model_validate_json(kept.read()) == winner.results
