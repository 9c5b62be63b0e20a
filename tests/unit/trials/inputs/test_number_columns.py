"""Numbers as people write them: read where they have one meaning, else refused with the row and the cure, or told."""

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Severity
from luthier.studies.spec import StudySpec
from luthier.trials.data.load import Data
from luthier.trials.data.numbers import Numbers
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about


def write(path: Path, numbers: Sequence[Any]) -> Path:
    """Write texts with numbers, as csv or jsonl."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *((f"text {i}", v) for i, v in enumerate(numbers))])
    else:
        path.write_text("".join(json.dumps({"text": f"text {i}", "label": v}) + "\n" for i, v in enumerate(numbers)))
    return path


def load(source: Any, seed: int = 0, **options: Any) -> Data:
    source = {name: str(file) for name, file in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), "text-regression", seed, True, 2)


USUAL = [k / 4 for k in range(40)]

REFUSED: dict[str, tuple[str, Any, str]] = {
    "not a number": ("jsonl", float("nan"), "NaN"),
    "nan as text": ("csv", "nan", "'nan', which means no number; write the number or remove the row"),
    "infinity": ("jsonl", float("inf"), "holds inf; numbers go to 1e\\+30"),
    "infinity as text": ("csv", "-inf", "'-inf'; a finite number is wanted"),
    "a number beyond 32 bits": ("csv", "1e39", "numbers go to 1e\\+30: correct it, remove the row, or take logs"),
    "a whole number of 400 digits": ("jsonl", 10**400, "numbers go to 1e\\+30"),
    "an empty cell": ("csv", "", "is empty; write the number or remove the row"),
    "blanks": ("csv", "  ", "is empty"),
    "null": ("jsonl", None, "is empty"),
    "a word for what is missing": ("csv", "N/A", "'N/A', which means no number"),
    "a dash": ("csv", "-", "'-', which means no number"),
    "a truth value": ("jsonl", True, "holds true; a number is wanted: of two classes, choose a classification task"),
    "text": ("csv", "good", "holds the text 'good' where a number is wanted; name the column of numbers"),
    "thousands": ("csv", "1,234", "'1,234'; a comma may part thousands or decimals"),
    "two groups of thousands": ("csv", "1,234,567.5", "nothing between thousands, as 1234567.5"),
    "a decimal comma": ("csv", "3,14", "write a point before decimals and nothing between thousands, as 3.14"),
    "blanks between thousands": ("csv", "1 234", "'1 234'; write nothing between thousands"),
    "apostrophes": ("csv", "1'234.5", "write nothing between thousands"),
    "underscores": ("csv", "1_234", "write nothing between thousands"),
    "a percentage": ("csv", "12%", "'12%'; write the number alone, without its unit or sign"),
    "money": ("csv", "$5.00", "without its unit or sign"),
    "a unit": ("csv", "5.2 kg", "without its unit or sign"),
    "a date": ("csv", "2024-05-01", "'2024-05-01', a date or time; write a number, such as the days since a date"),
    "a date of the other order": ("csv", "1/5/2024", "a date or time"),
    "a time": ("csv", "12:30", "a date or time"),
    "brackets for a minus": ("csv", "(5.0)", "write negative numbers with a minus"),
    "digits of another script": ("csv", "\u0663", "digits of another script; write numbers in the digits 0 to 9"),
    "hexadecimal": ("csv", "0x1f", "holds"),
    "a list": ("jsonl", [1.0, 2.0], "holds a list of 2 values; a row has one number"),
    "an empty list": ("jsonl", [], "holds a list of 0 values"),
    "a mapping": ("jsonl", {"value": 1}, "holds an object where a number is wanted; write the number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_number_is_refused_with_its_row(case: str, tmp_path: Path) -> None:
    ending, value, sentence = REFUSED[case]
    source = write(tmp_path / f"data.{ending}", [*USUAL[:6], value, *USUAL[6:]])
    with pytest.raises(BadData, match=r"row 7.*column 'label' .*" + sentence):
        load(source)


READ: dict[str, tuple[str, Any, float]] = {
    "a number": ("jsonl", 2.5, 2.5),
    "a whole number": ("csv", "-7", -7.0),
    "a plus": ("csv", "+7", 7.0),
    "no digit before the point": ("csv", ".5", 0.5),
    "no digit behind the point": ("csv", "5.", 5.0),
    "an exponent": ("csv", "1.5E-3", 0.0015),
    "blanks around": ("csv", " 5 ", 5.0),
    "a minus of typesetters": ("csv", "\u22125", -5.0),
    "a number as text": ("jsonl", "5", 5.0),
    "a list of one": ("jsonl", [5], 5.0),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_one_number_is_read(case: str, tmp_path: Path) -> None:
    ending, value, number = READ[case]
    source = write(tmp_path / f"data.{ending}", [*USUAL, value])
    data = load(source)
    rows = {
        text: target
        for split in data.splits.values()
        for text, target in zip(split.columns["text"], split.targets, strict=True)
    }
    assert rows["text 40"] == number


def test_text_among_numbers_is_told(tmp_path: Path) -> None:
    (finding,) = about(load(write(tmp_path / "data.jsonl", [*USUAL, "5", "6"])), "numbers-as-text")
    assert finding.count == 2
    assert finding.severity is Severity.NOTE
    assert "row 41" in finding.message
    assert about(load(write(tmp_path / "data.csv", USUAL)), "numbers-as-text") == []


@pytest.mark.parametrize("kind", ["date32", "decimal128(6, 2)", "classes"])
def test_columns_of_other_types(kind: str, tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(40)]
    if kind == "classes":
        import datasets

        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
        table = datasets.Dataset.from_dict({"text": texts, "label": [0, 1] * 20}, features)
        table.to_parquet(str(tmp_path / "data.parquet"))
        with pytest.raises(BadData, match=r"classes, whose names it declares \(a, b\); choose a classification task"):
            load(tmp_path / "data.parquet")
        return
    numbers = pyarrow.array(range(40), pyarrow.int32())
    cast = pyarrow.date32() if kind == "date32" else pyarrow.decimal128(12, 2)
    table = pyarrow.table({"text": texts, "label": numbers.cast(cast)})
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    if kind == "date32":
        with pytest.raises(BadData, match=r"row 1: .*holds the date or time 1970-01-01; write a number"):
            load(tmp_path / "data.parquet")
    else:
        assert sorted(n for s in load(tmp_path / "data.parquet").splits.values() for n in s.targets) == list(range(40))


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ([3.0] * 40, "one number only \\(3\\); there is nothing to learn"),
        ([2e9, 2e9 + 1] * 20, "too near to each other"),
        ([k * 1e-200 for k in range(40)], "differ by less than 1e-30: too small for a model; multiply all"),
        ([5e-324, 0.0] * 20, "differ by less than 1e-30"),
    ],
)
def test_numbers_that_do_not_differ_are_refused(numbers: list[float], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=sentence):
        load(write(tmp_path / "data.csv", numbers))


FINDINGS: dict[str, tuple[list[float], str, str]] = {
    "one far away": ([*USUAL, 5000.0], "number-outliers", "5000 (1)"),
    "a number for a missing one": ([*USUAL, -999.0, -999.0], "number-outliers", "-999 (2)"),
    "mostly zeros": ([0.0] * 300 + [100.0], "number-outliers", "100 (1)"),
    "stars": ([1.0, 2, 3, 4, 5] * 8, "few-numbers", "1, 2, 3, 4, 5"),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_what_is_remarkable_is_told(case: str, tmp_path: Path) -> None:
    numbers, code, told = FINDINGS[case]
    (finding,) = about(load(write(tmp_path / "data.csv", numbers)), code)
    assert told in finding.message


def test_usual_numbers_have_no_finding(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data.csv", [k / 4 for k in range(200)]))
    assert [finding.code for finding in data.findings] == []


def test_splits_of_one_number_or_beyond_training_are_told(tmp_path: Path) -> None:
    files = {
        "train": write(tmp_path / "train.csv", USUAL),
        "validation": write(tmp_path / "validation.csv", [3] * 5),
        "test": write(tmp_path / "test.csv", [20, 21, 3]),
    }
    data = load(files)
    assert "the number 3" in about(data, "one-number-in-validation")[0].message
    assert "2 of 3" in about(data, "numbers-beyond-training-in-test")[0].message


def test_splits_are_alike_and_the_scale_is_that_of_training(tmp_path: Path) -> None:
    numbers = [float(k**2) for k in range(200)]
    data = load(write(tmp_path / "data.csv", numbers), validation=0.2, test=0.2)
    targets = data.targets
    assert isinstance(targets, Numbers)
    train = data.splits["train"].targets
    assert targets.mean == pytest.approx(statistics.fmean(train))
    assert targets.deviation == pytest.approx(statistics.pstdev(train))
    middle = statistics.median(numbers)
    for split in ("validation", "test"):
        held = data.splits[split].targets
        assert len(held) == 40
        assert sum(number > middle for number in held) == 20, "half of each split is above the median"
        assert statistics.fmean(held) == pytest.approx(statistics.fmean(numbers), rel=0.1)
    assert load(write(tmp_path / "data.csv", numbers), validation=0.2, test=0.2).fingerprint == data.fingerprint


def test_a_small_sample_may_lack_a_quantile(tmp_path: Path) -> None:
    files = {name: write(tmp_path / f"{name}.csv", USUAL * 4) for name in ("train", "validation", "test")}
    assert sum(load(files, limit=12).rows.values()) == 12
    assert sum(load(files, limit=100).rows.values()) == 100


@pytest.mark.parametrize("name", ["class_weighting", "label_smoothing", "threshold"])
def test_what_is_for_classes_is_refused(name: str) -> None:
    value = {"class_weighting": "balanced", "label_smoothing": 0.1, "threshold": "searched"}[name]
    document = {"name": "a", "task": "text-regression", "model": "m", "dataset": {"source": "x"}}
    with pytest.raises(ValueError, match="has no meaning") as refused:
        StudySpec.model_validate({**document, "space": {name: value}})
    assert name in str(refused.value)


@pytest.mark.parametrize(("role", "column"), [("text", "label"), ("label", "text"), ("text_pair", "label")])
def test_a_column_that_is_both_input_and_target_is_refused(role: str, column: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"{i},{i}\n" for i in range(20)))
    with pytest.raises(BadData, match=f"column '{column}' is both text.* and label .*name another column"):
        load(path, columns={role: column})
