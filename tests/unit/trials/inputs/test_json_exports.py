"""JSON as tools and services export it: its table is found, or the sentence says how to export one."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.errors import BadData

ROLES = {"text": "text", "label": "label"}
ROWS = [{"text": f"text {i}", "label": ("pos", "neg")[i % 2]} for i in range(20)]
VIEWED = [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in enumerate(ROWS)]


def table(path: Path, content: str) -> list[dict[str, Any]]:
    path.write_text(content)
    found = read(locate(str(path), "dataset", "source"), ROLES)
    assert set(found.columns) == {"text", "label"}
    return [dict(zip(found.columns, values, strict=True)) for values in zip(*found.columns.values(), strict=True)]


def lines(records: list[Any], end: str = "\n") -> str:
    return "".join(json.dumps(record) + end for record in records)


READ: dict[str, tuple[str, str]] = {
    "the viewer of the hub": (
        "d.json", json.dumps({"features": [{"name": "text"}], "rows": VIEWED, "num_rows_total": 20, "partial": False}),
    ),
    "its rows": ("d.jsonl", lines(VIEWED)),
    "a table beside others": ("d.json", json.dumps({"results": ROWS, "errors": [{"code": 1}], "pages": 2})),
    "a table deep inside": ("d.json", json.dumps({"data": {"rows": ROWS}})),
    "columns inside": ("d.json", json.dumps({"data": {key: [row[key] for row in ROWS] for key in ("text", "label")}})),
    "Prodigy, all accepted": ("d.jsonl", lines([{**row, "answer": "accept"} for row in ROWS])),
    "answers of people": ("d.jsonl", lines([{**row, "answer": str(i)} for i, row in enumerate(ROWS)])),
    "conversations beside text and label": ("d.jsonl", lines([{**row, "messages": []} for row in ROWS])),
    "line ends of old": ("d.jsonl", lines(ROWS, "\r")),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_it_is_read(kind: str, tmp_path: Path) -> None:
    name, content = READ[kind]
    assert table(tmp_path / name, content) == ROWS


def test_records_inside_a_column_of_parquet(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"id": range(20), "row": ROWS}), tmp_path / "d.parquet")
    found = read(locate(str(tmp_path / "d.parquet"), "dataset", "source"), ROLES)
    assert found.columns["text"] == [row["text"] for row in ROWS]


TEXT = json.dumps(ROWS)
REFUSED: dict[str, tuple[str, str, list[str]]] = {
    "a page of the viewer": (
        "d.json", json.dumps({"rows": VIEWED, "num_rows_total": 900}), ["holds 20 of 900 rows", "fetch the data set"],
    ),
    "a cell that the viewer cut": (
        "d.json", json.dumps({"rows": [*VIEWED[:-1], {**VIEWED[-1], "truncated_cells": ["text"]}]}), ["row 20 was cut"],
    ),
    "Label Studio": (
        "d.json", json.dumps([{"id": 1, "data": {"text": "a"}, "annotations": [{"result": []}]}]), ["JSON-MIN or CSV"],
    ),
    "COCO": ("d.json", json.dumps({"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": [{}]}), ["COCO"]),
    "SQuAD": (
        "d.json", json.dumps({"data": [{"title": "a", "paragraphs": [{"qas": []}]}]}),
        ["SQuAD", "task is question-answering"],
    ),
    "conversations": ("d.jsonl", lines([{"messages": [{"role": "user"}]}]), ["holds conversations"]),
    "Prodigy, rejected": (
        "d.jsonl", lines([{**row, "answer": ("accept", "reject")[i == 4]} for i, row in enumerate(ROWS)]),
        ["row 5 (line 5): its answer is 'reject'", "keep the rows that were accepted"],
    ),
    "a split without labels": ("d.json", json.dumps({"train": ROWS, "test": [{"text": "a"}]}), ["more than one table"]),
    "splits of columns": (
        "d.json", json.dumps({"train": {"text": ["a"], "label": ["b"]}, "test": {"text": ["a"], "label": ["b"]}}),
        ["more than one table (train, test)"],
    ),
    "a comma at the end": ("d.json", TEXT[:-1] + ",]", ["Remove the comma before the bracket"]),
    "a comma at the end of an object": ("d.json", TEXT[:-2] + ",}]", ["Remove the comma before the bracket"]),
    "commas at the ends of lines": ("d.jsonl", lines(ROWS, ",\n"), ["line 1", "Remove the comma at the end"]),
    "two objects in a line": ("d.jsonl", lines(ROWS, ""), ["line 1", "Write one object per line"]),
    "printed by Python": ("d.json", repr(ROWS), ["as Python prints it", "json.dump"]),
    "cut": ("d.json", TEXT[:-40], ["so it was cut"]),
    "a key twice": ("d.json", '[{"text": "a", "text": "b", "label": "c"}]', ["'text' is given twice. Leave one of"]),
    "lists in lists": ("d.json", "[" * 100_000, ["is not valid JSON", "without lists inside lists"]),
    "empty": ("d.json", "\n", ["is empty"]),
    "encoded twice": ("d.json", json.dumps(TEXT), ["JSON inside a string"]),
    "lines encoded twice": ("d.jsonl", lines([json.dumps(row) for row in ROWS]), ["row 1", "JSON inside a string"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_its_cure(kind: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[kind]
    with pytest.raises(BadData) as refused:
        table(tmp_path / name, content)
    for part in (name, *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]
