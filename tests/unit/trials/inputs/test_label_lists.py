"""Labels of which a row has any number: lists, or texts with a separator; refused or told where they look wrong."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from luthier.studies.dataset import Dataset
from luthier.studies.schedule import ScheduleSpec
from luthier.studies.spec import StudySpec
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about

USUAL = [["a"], ["a", "b"], ["b"], []] * 10


def write(path: Path, labels: Sequence[Any]) -> Path:
    """Write texts with labels, as csv or jsonl."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *((f"text {i}", v) for i, v in enumerate(labels))])
    else:
        path.write_text("".join(json.dumps({"text": f"text {i}", "label": v}) + "\n" for i, v in enumerate(labels)))
    return path


def load(source: Any, **options: Any) -> Data:
    source = {name: str(file) for name, file in source.items()} if isinstance(source, dict) else str(source)
    dataset = Dataset.model_validate({"source": source, **options})
    return load_data(dataset, "text-multilabel-classification", 0, True, 2)


def rows(data: Data) -> dict[str, list[str]]:
    """Return text -> its labels, over all splits."""
    found = {}
    for split in data.splits.values():
        for text, ids in zip(split.columns["text"], split.targets, strict=True):
            found[text] = [data.label_names[label] for label in ids]
    return found


def test_lists_are_read(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data.jsonl", USUAL))
    assert data.label_names == ["a", "b"]
    assert data.labels == {"a": 20, "b": 20}
    assert [rows(data)[f"text {i}"] for i in range(4)] == USUAL[:4]
    (told,) = about(data, "rows-without-labels")
    assert told.count == 10


@pytest.mark.parametrize(("separator", "texts"), [("|", ["b|a", "a", " b | ", ""]), (", ", ["b, a", "a", "b", ""])])
def test_texts_are_taken_apart(separator: str, texts: list[str], tmp_path: Path) -> None:
    for name in ("data.csv", "data.jsonl"):
        data = load(write(tmp_path / name, texts * 10), label_separator=separator)
        assert [rows(data)[f"text {i}"] for i in range(4)] == [["a", "b"], ["a"], ["b"], []]


def test_whole_numbers_and_declared_names(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data.jsonl", [[10, 9], [9], [10]] * 10))
    assert data.label_names == ["9", "10"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.List(datasets.ClassLabel(names=["sun", "rain", "snow"]))}
    )
    table = {"text": [f"text {i}" for i in range(30)], "label": [[1, 0], [0], [1]] * 10}
    datasets.Dataset.from_dict(table, features).to_parquet(str(tmp_path / "data.parquet"))
    data = load(tmp_path / "data.parquet")
    assert rows(data)["text 0"] == ["sun", "rain"]
    assert data.label_names == ["sun", "rain", "snow"]


def test_spellings_are_one_label_and_a_label_counts_once(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data.jsonl", [*USUAL, ["A ", "a"], ["b", "b"]]))
    assert data.labels == {"a": 21, "b": 21}
    assert "'A ' (1) into 'a'" in about(data, "labels-merged")[0].message
    (twice,) = about(data, "labels-twice-in-a-row")
    assert twice.count == 2
    assert "row 42" in twice.message


def test_near_labels_and_rare_ones_are_told(tmp_path: Path) -> None:
    lists = [["weather"], ["sport", "weather"], ["sport"]] * 12
    data = load(write(tmp_path / "data.jsonl", [*lists, ["wether"], ["wether", "sport"]]))
    assert "'wether' (2) and 'weather'" in about(data, "near-equal-labels")[0].message
    assert about(data, "rare-labels")[0].examples == ["wether"]


def test_a_label_of_every_row_and_one_label_a_row_are_told(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data.jsonl", [["x", "a"], ["x", "b"]] * 15))
    assert about(data, "labels-in-every-row")[0].examples == ["x"]
    data = load(write(tmp_path / "single.jsonl", [["a"], ["b"]] * 15))
    assert about(data, "one-label-in-each-row")


REFUSED: dict[str, tuple[str, Any, str]] = {
    "null": ("jsonl", None, r"is empty; write \[\] for a row without a label"),
    "text": ("jsonl", "a|b", r"dataset.label_separator, such as '\|'"),
    "text with commas": ("jsonl", "a, b", "dataset.label_separator, such as ','"),
    "a list as text": ("jsonl", "['a', 'b']", "a list written as text"),
    "a number": ("jsonl", 3, r"holds 3 where a list of labels is wanted; write one, \[3\] say"),
    "an empty label": ("jsonl", ["a", " "], r"has an empty label; write \[\] for a row without one"),
    "a null in a list": ("jsonl", ["a", None], "has an empty label"),
    "a truth value": ("jsonl", [True], "has the label True; labels are text or whole numbers"),
    "a decimal number": ("jsonl", [0.5], "has the label 0.5"),
    "a list in a list": ("jsonl", [["a"]], r"has the label \['a'\]"),
    "a control character": ("jsonl", ["a\x07"], "cannot be printed; remove it"),
    "a mapping": ("jsonl", {"a": 1}, "list of labels is wanted; write the names of those that it has, as a list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_list_of_labels_is_refused_with_its_row(case: str, tmp_path: Path) -> None:
    ending, value, sentence = REFUSED[case]
    with pytest.raises(BadData, match=r"row 6.*column 'label' .*" + sentence):
        load(write(tmp_path / f"data.{ending}", [*USUAL[:5], value, *USUAL[5:]]))


def test_labels_that_another_mark_joins_are_warned_of(tmp_path: Path) -> None:
    texts = ["a", "a;b", "b", "c/d"] * 10
    (found,) = about(load(write(tmp_path / "d.csv", texts), label_separator=","), "joined-labels")
    assert (found.severity, found.examples) == ("warning", ["a;b"])
    assert "dataset.label_separator" in found.text
    assert not about(load(write(tmp_path / "e.csv", texts), label_separator=";"), "joined-labels")


def test_lists_need_no_separator(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"row 1.* holds a list, .*; leave out dataset.label_separator"):
        load(write(tmp_path / "data.jsonl", USUAL), label_separator="|")


@pytest.mark.parametrize(("text", "separator"), [('["a", "b"]', ","), ("['a', 'b']", "|"), ("[1, 2]", ",")])
def test_a_separator_does_not_take_apart_what_is_written_as_a_list(text: str, separator: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"row 6.* a list written as text .*; write lists as jsonl or parquet without"):
        load(
            write(tmp_path / "data.jsonl", [*["a", "b"] * 10][:5] + [text] + ["a", "b"] * 10), label_separator=separator
        )
    data = load(write(tmp_path / "names.jsonl", ["[PAD]|[CLS]", "[CLS]"] * 10), label_separator="|")
    assert data.label_names == ["[CLS]", "[PAD]"]


def test_zeros_and_ones_with_a_separator_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="zeros and ones, a place for each label; write the names"):
        load(write(tmp_path / "data.jsonl", ["0|1|0", "1|0|0"] * 10), label_separator="|")


def test_zeros_and_ones_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="zeros and ones, a place for each label; write the names"):
        load(write(tmp_path / "data.jsonl", [[0, 1, 0], [1, 0, 0]] * 10))


@pytest.mark.parametrize(("lists", "held"), [([["a"], []] * 10, r"one label only \('a'\)"), ([[]] * 20, "no label")])
def test_fewer_than_two_labels_are_refused(lists: list[list[str]], held: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=f"holds {held}; it needs two or more"):
        load(write(tmp_path / "data.jsonl", lists))


def test_a_label_that_training_lacks_is_refused(tmp_path: Path) -> None:
    files = {
        "train": write(tmp_path / "train.jsonl", USUAL),
        "test": write(tmp_path / "test.jsonl", [["a"], ["a", "c"]]),
    }
    with pytest.raises(BadData, match=r"row 2.*: the label 'c' of test does not occur in training"):
        load(files)


def spec(task: str, **parts: Any) -> dict[str, Any]:
    return {"name": "a", "task": task, "model": "m", "dataset": {"source": "x"}, "space": {}, **parts}


def test_a_separator_and_a_threshold_are_for_several_labels() -> None:
    task = "text-multilabel-classification"
    parted = {"source": "x", "label_separator": "|"}
    StudySpec.model_validate(spec(task, dataset=parted, space={"threshold": ["0.5", "searched"]}))
    assert StudySpec.model_validate(spec(task, space={"threshold": 0.5})).space["threshold"] == "0.5"
    with pytest.raises(ValueError, match="has no list of labels; leave it out"):
        StudySpec.model_validate(spec("text-classification", dataset=parted))
    with pytest.raises(ValueError, match="has no meaning for text-classification"):
        StudySpec.model_validate(spec("text-classification", space={"threshold": "searched"}))
    with pytest.raises(ValueError, match=r"must be one of 0\.5, searched"):
        StudySpec.model_validate(spec(task, space={"threshold": 0.3}))


def test_the_separator_is_part_of_a_schedule_only_where_it_is_written() -> None:
    task = "text-multilabel-classification"

    def digest(dataset: dict[str, Any]) -> str:
        schedule = {"name": "s", "study": spec(task, dataset=dataset), "cron": "0 3 * * *"}
        del schedule["study"]["name"]
        return ScheduleSpec.model_validate(schedule).template_digest

    assert digest({"source": "x"}) == digest({"source": "x", "label_separator": None})
    assert digest({"source": "x"}) != digest({"source": "x", "label_separator": "|"})
