"""Folders, shards and JSON as libraries write them: read whole, or refused by name."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.data.located import locate
from luthier.trials.data.sources import read, source_stamps
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.tiny import tiny_rows, tiny_sentences

ROLES = {"text": "text", "label": "label"}
TAGS = ["O", "B-ANGER", "B-JOY", "I-ANGER", "I-JOY"]
ROWS = [{"text": text, "label": label} for text, label in tiny_rows(40)]


def load(source: Any, task: str = "text-classification", **options: Any) -> Data:
    source = {name: str(file) for name, file in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), task, 0)


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(BadData) as refused:
        load(source, **options)
    assert refused.value.path[:2] == ["dataset", "source"]
    return refused.value.message


def saved(rows: int = 40, names: tuple[str, ...] = ("anger", "joy")) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    columns = {"text": [text for text, _ in tiny_rows(rows)], "label": [i % 2 for i in range(rows)]}
    return datasets.Dataset.from_dict(columns, features=features)


def shards(folder: Path, count: int, kind: str = "parquet", prefix: str = "train") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{prefix}-{i:05d}-of-{count:05d}.{kind}" for i in range(count)]
    for i, file in enumerate(files):
        table = pyarrow.Table.from_pylist(ROWS[i::count])
        if kind == "parquet":
            pyarrow.parquet.write_table(table, file)
        elif kind == "arrow":
            with pyarrow.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in ROWS[i::count]))
    return files


@pytest.mark.parametrize("parts", [1, 3])
def test_a_data_set_saved_to_disk(parts: int, tmp_path: Path) -> None:
    saved().save_to_disk(tmp_path / "d", num_shards=parts)
    data = load(tmp_path / "d")
    assert sum(data.rows.values()) == 40
    assert data.label_names == ["anger", "joy"]
    if parts > 1:
        assert "one of 3 parts" in refusal(next((tmp_path / "d").glob("*.arrow")))
        next((tmp_path / "d").glob("*.arrow")).unlink()
        assert "lacks data-0000" in refusal(tmp_path / "d")


def test_a_dictionary_of_data_sets_saved_to_disk(tmp_path: Path) -> None:
    splits = {"train": saved(40), "validation": saved(10), "test": saved(12)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "d")
    assert load(tmp_path / "d").rows == {"train": 40, "validation": 10, "test": 12}
    assert load(tmp_path / "d", test=0).rows == {"train": 40, "validation": 10, "test": 0}
    assert load(tmp_path / "d", validation="test", test=0).rows == {"train": 40, "validation": 12, "test": 0}
    assert load({"train": tmp_path / "d" / "train"}, validation=0.25, test=0).rows["train"] == 30
    with pytest.raises(BadData, match=r"no table for the split 'dev'; dataset.source has train, validation, test"):
        load(tmp_path / "d", validation="dev")
    assert "holds the splits train, validation, test" in refusal({"train": tmp_path / "d"})


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_shards(kind: str, tmp_path: Path) -> None:
    files = shards(tmp_path, 3, kind)
    data = load(tmp_path)
    texts = [text for split in data.splits.values() for text in split.columns["text"]]
    assert sorted(texts) == sorted(str(row["text"]) for row in ROWS)
    message = refusal(files[0])
    assert f"{files[0].name} is one of 3 parts" in message
    assert f"({tmp_path})" in message
    files[1].unlink()
    assert "holds 2 of 3 parts; number 1 is missing" in refusal(tmp_path)


@pytest.mark.parametrize("form", ["data_{i}_of_3.parquet", "{i:04d}.of.0003.parquet", "all-{i}_OF_3.parquet"])
def test_other_names_of_shards(form: str, tmp_path: Path) -> None:
    files = [file.rename(tmp_path / form.format(i=i)) for i, file in enumerate(shards(tmp_path, 3), 1)]
    assert sum(load(tmp_path).rows.values()) == 40
    assert "is one of 3 parts" in refusal(files[1])
    files[1].unlink()
    assert "holds 2 of 3 parts; number 2 is missing" in refusal(tmp_path)


def test_a_clone_of_a_hub_repository(tmp_path: Path) -> None:
    shards(tmp_path / "data", 2)
    shards(tmp_path / "data", 1, prefix="test")
    (tmp_path / "README.md").write_text("# data")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert load(tmp_path, validation=0.25).rows == {"train": 30, "validation": 10, "test": 40}
    (tmp_path / "data" / "more.parquet").write_bytes((tmp_path / "data" / "test-00000-of-00001.parquet").read_bytes())
    assert "more.parquet belongs to no split" in refusal(tmp_path)


def test_what_the_hub_converts_to_parquet(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        for file in shards(tmp_path / split, count):
            file.rename(file.with_name(f"{int(file.name[6:11]):04d}.parquet"))
    assert load(tmp_path, validation=0.25).rows == {"train": 30, "validation": 10, "test": 40}
    assert "0000.parquet is one of 2 parts of a table, like 0001.parquet" in refusal(
        tmp_path / "train" / "0000.parquet"
    )


def test_what_spark_writes(tmp_path: Path) -> None:
    folder = tmp_path / "d.csv"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for i in range(3):
        lines = "".join(f"{row['text']},{row['label']}\n" for row in ROWS[i::3])
        (folder / f"part-{i:05d}-8f1c-c000.csv").write_text("text,label\n" + lines)
        (folder / f".part-{i:05d}-8f1c-c000.csv.crc").write_text("crc")
    assert sum(load(folder).rows.values()) == 40
    assert "is one of 3 parts" in refusal(folder / "part-00001-8f1c-c000.csv")
    (folder / "part-00002-8f1c-c000.csv").write_text("text,other\na,b\n")
    assert "part-00002-8f1c-c000.csv has other columns" in refusal(folder)
    (folder / "part-00002-8f1c-c000.csv").write_text("text,label\na,joy\n,joy\n")
    assert "row 2 (line 3) of part-00002-8f1c-c000.csv: column 'text' is empty" in refusal(folder)


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("training", "dev", "testing"), ("eng.train", "eng.testa", "eng.testb")]
)
def test_a_folder_of_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    for name, count in zip(names, (40, 20, 30), strict=True):
        made = "\n\n".join("\n".join(f"{w} {t}" for w, t in zip(*row, strict=True)) for row in tiny_sentences(count))
        (tmp_path / f"{name}.txt").write_text(made)
    data = load(tmp_path, "token-classification")
    assert data.rows == {"train": 40, "validation": 20, "test": 30}
    files = {role: tmp_path / f"{name}.txt" for role, name in zip(("train", "validation", "test"), names, strict=True)}
    assert load(files, "token-classification") == data
    before = source_stamps(str(tmp_path))
    (tmp_path / f"{names[0]}.txt").write_text("a O\nb B-JOY\n")
    assert source_stamps(str(tmp_path)) != before


def test_a_folder_of_several_tables_is_refused(tmp_path: Path) -> None:
    for name in ("2023.csv", "2024.csv"):
        (tmp_path / name).write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS))
    assert "holds several tables (2023.csv, 2024.csv)" in refusal(tmp_path)
    assert sum(load(tmp_path / "2023.csv").rows.values()) == 40
    (tmp_path / "2024.csv").unlink()
    assert sum(load(tmp_path).rows.values()) == 40


def test_parts_lie_inside_the_data_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = shards(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    moved = files[1].rename(tmp_path / "out" / files[1].name)
    files[1].symlink_to(moved)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "in"))
    assert "LUTHIER_DATA_ROOTS" in refusal(tmp_path / "in")


@pytest.mark.parametrize("linked", ["data", "train", "dataset_dict.json"])
def test_links_out_of_the_data_roots_are_not_looked_into(
    linked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("secret.csv", "other.csv"):
        (tmp_path / "out" / name).write_text("text,label\n")
    (tmp_path / "out.json").write_text('{"splits": ["secret"]}')
    (tmp_path / "in" / linked).symlink_to(tmp_path / ("out.json" if linked.endswith("json") else "out"))
    assert "secret" in refusal(tmp_path / "in")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "in"))
    said = refusal(tmp_path / "in")
    assert "LUTHIER_DATA_ROOTS" in said
    assert "secret" not in said


def test_a_stream_that_was_cut_between_two_batches_is_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    file = tmp_path / "d.arrow"
    with pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=20)
    assert sum(load(file).rows.values()) == 40
    file.write_bytes(file.read_bytes()[:-8])
    assert "it was cut" in refusal(file)


CLASSES = {"names": TAGS, "_type": "ClassLabel"}
WORDS = {"dtype": "string", "_type": "Value"}
NOTATIONS: dict[str, tuple[Any, Any]] = {
    # name: (feature of the words, feature of the tags)
    "a list of the one feature": ([WORDS], [{"num_classes": 5, "names_file": None, "id": None, **CLASSES}]),
    "Sequence": ({"feature": WORDS, "_type": "Sequence"}, {"feature": CLASSES, "length": -1, "_type": "Sequence"}),
    "List": ({"feature": WORDS, "_type": "List"}, {"feature": CLASSES, "_type": "List"}),
    "LargeList": ({"feature": WORDS, "_type": "LargeList"}, {"feature": CLASSES, "_type": "LargeList"}),
    "names by number, as on a card": (
        [WORDS],
        [{"names": {str(i): tag for i, tag in reversed(list(enumerate(TAGS)))}, "_type": "ClassLabel"}],
    ),
    "both": ([WORDS], {"feature": CLASSES, "_type": "Sequence"}),
}


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_class_names_of_lists(notation: str, kind: str, tmp_path: Path) -> None:
    words, tags = NOTATIONS[notation]
    rows = [{"tokens": w, "ner_tags": [TAGS.index(tag) for tag in t]} for w, t in tiny_sentences(40)]
    table = pyarrow.Table.from_pylist(rows)
    features = {"id": WORDS, "tokens": words, "ner_tags": tags, "odd": {"a": [1, 2]}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = tmp_path / f"d.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        with pyarrow.ipc.new_file(file, table.schema) as stream:
            stream.write_table(table)
    assert load(file, "token-classification").label_names == TAGS


def test_one_list_column_does_not_take_the_names_of_the_others(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"text": [r["text"] for r in ROWS], "label": [i % 2 for i in range(40)], "more": [["x"]] * 40}
    )
    features = {"text": WORDS, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "more": [WORDS]}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet").label_names == ["no", "yes"]


COLUMNS = {column: [row[column] for row in ROWS] for column in ("text", "label")}
JSON: dict[str, Any] = {
    "a list": ROWS,
    "data": {"version": "1.1", "data": ROWS},
    "another name": {"rows": ROWS},
    "columns": COLUMNS,
    "pandas, columns": {name: {str(i): value for i, value in enumerate(values)} for name, values in COLUMNS.items()},
    "pandas, split": {
        "columns": ["text", "label"], "index": list(range(40)), "data": [list(row.values()) for row in ROWS],
    },
    "pandas, index": {str(i): row for i, row in enumerate(ROWS)},
    "pandas, table": {"schema": {"fields": [{"name": "text"}], "primaryKey": ["index"]}, "data": ROWS},
}  # fmt: skip


@pytest.mark.parametrize("kind", JSON)
def test_json(kind: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(JSON[kind]))
    table = read(locate(str(tmp_path / "d.json"), "dataset", "source"), ROLES)
    assert {name: list(values) for name, values in table.columns.items()} == COLUMNS


FAULTS: dict[str, tuple[str, Any, list[str]]] = {
    "splits in one file": (
        "d.json",
        {"train": ROWS, "test": ROWS},
        ["more than one table (train, test)", "{train: ..."],
    ),
    "uneven columns": ("d.json", {"text": ["a", "b"], "label": ["x"]}, ["'label' has 1 values where 'text' has 2"]),
    "one object": ("d.json", {"text": "a", "label": "b"}, ["list of objects", ".jsonl"]),
    "a list of lists": ("d.json", [["a", "b"]], ["row 1 is not an object"]),
    "a list as lines": ("d.jsonl", ROWS, ["row 1 is not an object", ".json."]),
    "labels as lists of several": ("d.jsonl", {"text": "a", "label": ["x", "y"]}, ["row 1", "list"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_json_that_is_no_table(fault: str, tmp_path: Path) -> None:
    name, value, said = FAULTS[fault]
    (tmp_path / name).write_text(json.dumps(value))
    message = refusal(tmp_path / name)
    for part in (name, *said):
        assert part in message, message


def test_json_over_many_lines_as_lines(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(ROWS, indent=1))
    assert "give it the ending .json" in refusal(tmp_path / "d.jsonl")


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_labels_as_lists_of_one(kind: str, tmp_path: Path) -> None:
    rows = [row | {"label": [row["label"]]} for row in ROWS]
    if kind == "json":
        (tmp_path / "d.json").write_text(json.dumps(rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert load(tmp_path / f"d.{kind}").label_names == ["anger", "joy"]
