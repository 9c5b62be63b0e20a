"""Previews of data sets: what is in them, told without a task, within limits."""

import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.trials.data import preview_tables
from luthier.trials.data.preview import preview
from tests.support.archives_of_data import pictures
from tests.support.tiers import a_few


def made(folder: Path, files: dict[str, bytes]) -> dict[str, Any]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    told = preview(folder)
    json.dumps(told, allow_nan=False)
    return told


def columns(told: dict[str, Any], split: int = 0) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in told["splits"][split]["columns"]}


@pytest.mark.parametrize("separator", a_few(2, [",", ";", "\t", "|"]))
def test_columns_of_a_csv_with_their_kinds(tmp_path: Path, separator: str) -> None:
    rows = [("id", "text", "stars", "price", "good", "photo", "note")]
    rows += [(f"{i}", f'"a {i}; ""b"""', f"{i % 3}", f"{i}.5", str(i % 2 > 0), f"p/{i}.jpg", "") for i in range(30)]
    content = "".join(separator.join(row) + "\n" for row in rows).encode()
    told = made(tmp_path, {"data.csv": content})
    kinds = {name: column["kind"] for name, column in columns(told).items()}
    assert kinds == {
        "id": "integer",
        "text": "text",
        "stars": "integer",
        "price": "number",
        "good": "boolean",
        "photo": "image",
        "note": "empty",
    }
    found = columns(told)
    assert found["stars"]["values"] == [{"value": str(i), "rows": 10} for i in range(3)]
    assert (found["price"]["least"], found["price"]["most"], found["note"]["missing"]) == (0.5, 29.5, 30)
    assert told["splits"][0]["first"][0]["text"] == 'a 0; "b"'
    assert told["problem"] is None


def test_equal_rows_are_found_apart_from_their_numbers(tmp_path: Path) -> None:
    train = b"id,text\n" + b"".join(b"%d,%s\n" % (i, b"abcdefghij"[i % 8 : i % 8 + 1]) for i in range(10))
    told = made(tmp_path, {"train.csv": train, "test.csv": b"id,text\n90,a\n91,z\n"})
    assert [split["repeats"] for split in told["splits"]] == [2, 0]
    assert told["overlaps"] == [{"split": "train", "other": "test", "rows": 1}]


@pytest.mark.full
def test_other_tables(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"words": [["a", "b"], ["c"]], "label": [1, None], "image": [b"12", b"3"]})
    parquet.write_table(table, tmp_path / "data.parquet")
    found = columns(preview(tmp_path))
    assert [found[name]["kind"] for name in ("words", "label", "image")] == ["list", "integer", "binary"]
    assert (found["words"]["lengths"][0]["most"], found["label"]["missing"]) == (2, 1)
    for number, (name, content) in enumerate(
        {
            "data.jsonl": b'{"a": "x", "b": {"c": 1}}\n{"a": null, "b": {"c": 2}}\n',
            "data.json": b'[{"a": "x", "b": {"c": 1}}, {"a": null, "b": {"c": 2}}]',
        }.items()
    ):
        found = columns(made(tmp_path / str(number), {name: content}))
        assert (found["a"]["missing"], found["b"]["kind"]) == (1, "object")
    lines = made(tmp_path / "lines", {"data.txt": b"one line\nanother\n"})
    assert columns(lines)["text"]["distinct"] == 2


@pytest.mark.full
def test_a_large_table_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_tables, "MOST_BYTES", 2**20)
    monkeypatch.setattr("luthier.trials.data.preview.MOST_BYTES", 2**20)
    row = b'"a text, with\na line end",b\n'
    for name, content in (("data.csv", row * 50_000), ("data.csv.bz2", bz2.compress(b"text,label\n" + row * 50_000))):
        folder = tmp_path / name
        split = made(folder, {name: content if name.endswith("2") else b"text,label\n" + content})["splits"][0]
        assert not split["complete"]
        assert 30_000 < split["rows"] < 50_000
        assert split["columns"][1]["values"] == [{"value": "b", "rows": split["rows"]}]
    whole = made(tmp_path / "json", {"data.json": b'[{"a": "' + b"x" * 2**21 + b'"}]'})
    assert "larger than a preview reads" in whole["problem"]


def test_images_in_folders(tmp_path: Path) -> None:
    told = made(tmp_path, pictures(3, "train/") | pictures(2, "test/"))
    assert [(split["split"], split["rows"]) for split in told["splits"]] == [("train", 6), ("test", 4)]
    found = columns(told)
    assert found["label"]["values"] == [{"value": "dark", "rows": 3}, {"value": "light", "rows": 3}]
    assert [length["most"] for length in found["image"]["lengths"]] == [10, 10]
    assert told["overlaps"] == [{"split": "train", "other": "test", "rows": 4}]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "dataset-0a1b" / "files"
    several = made(folder, {"x.csv": b"a\n1\n", "y.csv": b"b\n2\n"})["problem"]
    assert several.startswith("dataset:0a1b holds several tables (x.csv, y.csv)")  # as a spec names it
    assert "in dataset.source, as {train: ..." in several
    assert len(preview(folder)["splits"]) == 2
    archive = made(tmp_path / "dataset-2" / "files", {"data.csv": b"PK\x03\x04 and more"})["problem"]
    assert "data.csv is a zip archive; unpack it with `unzip data.csv`" in archive
    assert "No table was found" in made(tmp_path / "b", {"x.bin": b"1"})["problem"]
    assert made(tmp_path / "c", {"data.csv": b"\xff\xfe\x00"})["problem"]
    assert made(tmp_path / "d", {"data.parquet": b"PAR1 no"})["problem"]
