"""Folders around tables, as lakes, warehouses and people write them: read whole, or described with a cure."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about
from tests.support.tiny import tiny_rows

ROWS = tiny_rows(40)
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
UNLABELLED = "id,text\n1,a\n2,b\n"


def grow(root: Path, *names: str, **contents: str) -> Path:
    """Write a table under each name, with the columns that the ending asks for; `contents`: text by name."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            table = pyarrow.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
            pyarrow.parquet.write_table(table, file)
        else:
            file.write_text(contents.get(name, CSV if file.suffix == ".csv" else "x"))
    return root


def load(source: Any, **options: Any) -> Data:
    return load_data(Dataset.model_validate({"source": str(source), **options}), "text-classification", 0, verify=True)


SHARDS = [
    [f"export-{i:012d}.csv" for i in range(3)],
    [f"export-{i:012d}.csv" for i in (1, 2, 3)],
    [f"{i:04d}.parquet" for i in range(2)],
    [f"part-{i:05d}-8f1c.snappy.parquet" for i in (0, 3, 7)],
]


@pytest.mark.parametrize("names", SHARDS, ids=[names[0] for names in SHARDS])
def test_numbered_parts_are_read_whole(names: list[str], tmp_path: Path) -> None:
    """Spark writes no part that would be empty."""
    grow(tmp_path, *names, "_SUCCESS", ".part-00000.crc", "_committed_1")
    assert sum(load(tmp_path).rows.values()) == 40 * len(names)
    with pytest.raises(BadData, match=f"{names[0]} is one of {len(names)} parts of a table"):
        load(tmp_path / names[0])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    grow(tmp_path, *(f"export-{i:012d}.csv" for i in (0, 1, 3)))
    with pytest.raises(BadData, match=r"holds parts such as export-000000000000\.csv, and number 2 is missing"):
        load(tmp_path)


def test_tables_that_are_numbered_by_date_are_no_parts(tmp_path: Path) -> None:
    grow(tmp_path, "sales-0101.csv", "sales-0201.csv")
    assert sum(load(tmp_path / "sales-0101.csv").rows.values()) == 40
    with pytest.raises(BadData, match="holds several tables"):
        load(tmp_path)


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    # name: (files, what the sentence says)
    "Hive's partitions": (
        ["label=pos/a.parquet", "label=neg/a.parquet"],
        ["the column label is in the names of its folders (label=neg, label=pos)", "read_parquet("],
    ),
    "partitions of csv": (["year=2023/a.csv", "year=2024/a.csv"], ["the column year", "with that column."]),
    "Delta": (["part-00000.snappy.parquet", "_delta_log/0.json"], ["is a Delta table", "rows that were deleted"]),
    "Hudi": (["a.parquet", ".hoodie/hoodie.properties"], ["is a Hudi table"]),
    "Iceberg": (["data/a.parquet", "metadata/v1.metadata.json"], ["is an Iceberg table"]),
    "configurations": (["en/train.parquet", "de/train.parquet"], ["its folders do (de, en); give one of them"]),
    "folders of texts": (["pos/1.txt", "neg/2.txt"], ["folders of text files (neg, pos)", "write a csv"]),
    "splits of folders of texts": (["train/pos/1.txt", "test/pos/2.txt"], ["folders of text files", "write a csv"]),
    "nothing": ([".hidden/x"], ["holds no file but .hidden"]),
    "other files": (["notes.docx"], ["is a folder; give a file", "no table: notes.docx"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_folder_that_is_no_table_is_described(kind: str, tmp_path: Path) -> None:
    names, said = REFUSED[kind]
    with pytest.raises(BadData) as refused:
        load(grow(tmp_path, *names))
    for part in said:
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]


def test_the_archive_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        BadData, match=r"holds no table: data\.zip is a zip archive; unpack it with `unzip .*data\.zip`"
    ):
        load(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.csv")
    for source in (tmp_path / "d.csv", Path("/dev/zero")):
        with pytest.raises(BadData, match="is neither a file nor a folder, but a pipe"):
            load(source)


def test_a_saved_data_set_that_lacks_a_split(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(BadData, match=r"lacks the folder train, which is a part of it; fetch it, or save it anew"):
        load(tmp_path)


def test_a_split_without_labels_is_left_out_or_named(tmp_path: Path) -> None:
    """As competitions publish their test files."""
    grow(tmp_path, "train.csv", "test.csv", **{"test.csv": UNLABELLED})
    with pytest.raises(BadData, match=r"\(test\) has no column 'label'.*if test is not labelled, leave it out"):
        load(tmp_path)
    assert load(tmp_path, test=0).rows["test"] == 0


def test_a_header_of_thousands_of_columns_is_cut(tmp_path: Path) -> None:
    header = "class," + ",".join(f"pixel{i}" for i in range(784))
    (tmp_path / "d.csv").write_text(f"{header}\n3{',0' * 784}\n")
    with pytest.raises(BadData, match=r"its columns are class, pixel0, .*pixel18 and 765 more\."):
        load(tmp_path / "d.csv")


def test_texts_that_stand_for_none_are_found(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(CSV + "nan,joy\nNone,anger\nnone of it,joy\n")
    (found,) = about(load(tmp_path / "d.csv"), "texts-that-stand-for-none")
    assert (found.count, found.severity) == (2, "warning")
    assert "row 41 (line 42) (nan), row 42 (line 43) (None)." in found.message
    (tmp_path / "d.csv").write_text(CSV)
    assert not about(load(tmp_path / "d.csv"), "texts-that-stand-for-none")


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "is empty"), (7, "holds int .*; write it as text")])
def test_texts_that_are_none(value: float, said: str, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in ROWS] + [{"text": value, "label": "joy"}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    with pytest.raises(BadData, match=rf"row 41: column 'text' {said}"):
        load(tmp_path / "d.json")


def test_what_links_lead_to_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.bin").write_bytes(b"SQLite format 3\0")
    (tmp_path / "out" / "d.csv").write_text(CSV)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.bin").symlink_to(tmp_path / "out" / "secret.bin")
    (folder / "b").symlink_to(tmp_path / "out")
    with pytest.raises(BadData, match=r"is a folder; .* What it holds is no table: a\.bin, b\.") as refused:
        load(folder)
    assert "SQLite" not in refused.value.message
