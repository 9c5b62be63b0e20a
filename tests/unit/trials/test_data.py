"""Data: what is right is read and split reproducibly; what is wrong is refused with file, row or column, and cure."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.service.storage.file_store import FileStore
from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from luthier.trials.paths import local_path, set_uploaded
from tests.support.data import load_data
from tests.support.tiny import tiny_csv, tiny_rows

GOOD = "text,label\n" + "".join(f"{text},{label}\n" for text, label in tiny_rows(12))


def load(source: Any, seed: int = 0, **options: Any) -> Data:
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), "text-classification", seed)


def test_every_format_gives_the_same_data(tmp_path: Path) -> None:
    rows = [{"text": text + ', "so"\nit goes \u2028 ü', "label": label} for text, label in tiny_rows(30)]
    table = pyarrow.Table.from_pylist(rows)
    import csv

    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / f"d.{ending}").open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pyarrow.ipc.new_stream(tmp_path / "d.arrow", table.schema) as stream:
        stream.write_table(table)
    found = {kind: load(tmp_path / f"d.{kind}") for kind in ("csv", "tsv", "json", "jsonl", "parquet", "arrow")}
    assert len({data.fingerprint for data in found.values()}) == 1
    assert found["csv"].splits == found["parquet"].splits
    assert sum(found["csv"].rows.values()) == 30
    assert found["csv"].label_names == ["anger", "joy"]


def test_splits_are_seeded_stratified_and_disjoint(tmp_path: Path) -> None:
    lines = [f"word {i},{'rare' if i % 20 == 0 else 'common' if i % 2 else 'usual'}" for i in range(200)]
    path = tmp_path / "d.csv"
    path.write_text("text,label\n" + "\n".join(lines))
    data = load(path, validation=0.2, test=0.1)
    assert data.rows == {"train": 140, "validation": 40, "test": 20}
    assert data.labels == {"common": 100, "rare": 10, "usual": 90}
    shares = {name: Counter(data.label_names[i] for i in split.targets) for name, split in data.splits.items()}
    assert shares["validation"] == {"common": 20, "usual": 18, "rare": 2}
    assert shares["test"] == {"common": 10, "usual": 9, "rare": 1}
    texts = [text for split in data.splits.values() for text in split.columns["text"]]
    assert len(texts) == len(set(texts)) == 200
    assert load(path, validation=0.2, test=0.1) == data
    other = load(path, seed=1, validation=0.2, test=0.1)
    assert other.splits != data.splits
    assert other.fingerprint != data.fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    first = load(tiny_csv(tmp_path / "a.csv")).fingerprint
    assert load(tiny_csv(tmp_path / "b.csv")).fingerprint == first
    changed = (tmp_path / "a.csv").read_text().replace("lovely", "pretty", 1)
    (tmp_path / "a.csv").write_text(changed)
    assert load(tmp_path / "a.csv").fingerprint != first


def test_a_class_of_one_row_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(GOOD + "only me,lonely\n")
    data = load(path, validation=0.3, test=0.3)
    lonely = data.label_names.index("lonely")
    assert [lonely in split.targets for split in data.splits.values()] == [True, False, False]


def test_limit_is_a_stratified_sample(tmp_path: Path) -> None:
    path = tiny_csv(tmp_path / "d.csv", rows=300, classes=3)
    data = load(path, limit=60)
    assert sum(data.rows.values()) == 60
    assert set(data.labels.values()) == {20}
    assert data == load(path, limit=60) != load(path, limit=60, seed=1)
    files = {"train": path, "test": tiny_csv(tmp_path / "t.csv", rows=150, classes=3, seed=1)}
    assert load(files, limit=90, validation=0.1).rows == {"train": 54, "validation": 6, "test": 30}
    assert sum(load(path, limit=1000).rows.values()) == 300


def test_labels_are_numbers_booleans_or_text(tmp_path: Path) -> None:
    texts = [text for text, _ in tiny_rows(30)]
    numbered = zip(texts, [2, 10, -1] * 10, strict=True)
    (tmp_path / "n.csv").write_text("text,label\n" + "".join(f"{text},{number}\n" for text, number in numbered))
    assert load(tmp_path / "n.csv").label_names == ["-1", "2", "10"]
    (tmp_path / "b.json").write_text(json.dumps([{"text": t, "label": i % 2 == 0} for i, t in enumerate(texts)]))
    assert load(tmp_path / "b.json").label_names == ["false", "true"]
    (tmp_path / "s.csv").write_text("text,label\n" + "".join(f"{t},{('1', 'x')[i % 2]}\n" for i, t in enumerate(texts)))
    assert load(tmp_path / "s.csv").label_names == ["1", "x"]
    for names in (["01", "02"], ["1.0", "2.0"], ["0.5", "x"]):
        (tmp_path / "s.csv").write_text("text,label\n" + "".join(f"{t},{names[i % 2]}\n" for i, t in enumerate(texts)))
        assert load(tmp_path / "s.csv").label_names == names


def test_names_of_integer_classes_are_kept(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_dict(
        {"text": [text for text, _ in tiny_rows(20)], "label": [i % 2 for i in range(20)]}, features=features
    )
    made.to_parquet(tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet").label_names == ["no", "yes"]


def test_hub_data_sets_come_with_their_splits_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    columns = {"text": [text for text, _ in tiny_rows(40)], "label": [i % 2 for i in range(40)]}
    made = datasets.Dataset.from_dict(columns, features=features)
    asked: list[tuple[str, str | None]] = []

    def load_dataset(path: str, name: str | None = None) -> datasets.DatasetDict:
        asked.append((path, name))
        return datasets.DatasetDict(train=made, dev=made.select(range(10)))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load("someone/some-data", subset="small", validation="dev", test=0.25)
    assert asked == [("someone/some-data", "small")]
    assert data.rows == {"train": 30, "validation": 10, "test": 10}
    assert data.label_names == ["no", "yes"]
    with pytest.raises(BadData, match="no split 'validation'; it has train, dev") as refused:
        load("someone/some-data", validation="validation")
    assert refused.value.path == ["dataset", "validation"]


def test_columns_and_pairs_are_named_by_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    lines = "".join(f"{i % 2}\tfirst {i}\tsecond {i}\n" for i in range(20))
    path.write_text("same\ta\tb\n" + lines)
    data = load(path, columns={"text": "a", "text_pair": "b", "label": "same"})
    assert set(data.splits["train"].columns) == {"text", "text_pair"}
    for split in data.splits.values():
        for a, b in zip(split.columns["text"], split.columns["text_pair"], strict=True):
            assert a.replace("first", "second") == b


FAULTS: dict[str, tuple[str, str | bytes, dict[str, Any], list[str]]] = {
    # name: (file name, content, dataset options, what the sentence says)
    "no such column": ("d.csv", GOOD, {"columns": {"text": "body"}}, ["'body'", "text, label", "dataset.columns.text"]),
    "no rows": ("d.csv", "text,label\n", {}, ["d.csv", "no rows"]),
    "nothing at all": ("d.csv", "", {}, ["d.csv", "no rows"]),
    "empty list": ("d.json", "[]", {}, ["no rows"]),
    "one class": ("d.csv", "text,label\na,x\nb,x\nc,x\n", {}, ["one label only", "'x'", "'label'"]),
    "ids as labels": ("d.csv", "text,label\na,1\nb,2\nc,3\n", {}, ["right column"]),
    "missing label": ("d.csv", GOOD + "hello,\n", {}, ["row 13 (line 14)", "'label'", "label the row"]),
    "missing text": ("d.csv", GOOD + " ,joy\n", {}, ["row 13 (line 14)", "'text'", "is empty"]),
    "null label": ("d.jsonl", '{"text":"a","label":"x"}\n{"text":"b"}\n', {}, ["row 2 (line 2)", "is empty"]),
    "NUL": ("d.csv", GOOD + "he\0llo,joy\n", {}, ["NUL", "line 14", "remove"]),
    "NUL in JSON": ("d.jsonl", '{"text":"a\\u0000","label":1}\n{"text":"b","label":2}', {}, ["row 1", "NUL"]),
    "lone surrogate": ("d.jsonl", '{"text":"a\\ud800","label":1}\n{"text":"b","label":2}', {}, ["row 1", "surrogate"]),
    "duplicate columns": ("d.csv", "text,label,text\na,x,b\n", {}, ["'text'", "rename"]),
    "duplicate keys": ("d.jsonl", '{"text":"a","text":"b","label":1}', {}, ["row 1", "'text'", "twice"]),
    "ragged": ("d.csv", GOOD + "a,joy,extra\n", {}, ["row 13 (line 14)", "3 fields", "2"]),
    "open quote": ("d.csv", GOOD + '"a,joy\n', {}, ["row 13 (line 14)", "quote"]),
    "not UTF-8": ("d.csv", GOOD.encode() + "caf\xe9,joy\n".encode("latin-1"), {}, ["0xe9", "line 14", "UTF-8"]),
    "mixed types": ("d.jsonl", '{"text":"a","label":1}\n{"text":"b","label":"x"}', {}, ["row 2", "'x'", "one type"]),
    "decimal labels": ("d.jsonl", '{"text":"a","label":1}\n{"text":"b","label":0.5}', {}, ["row 2", "0.5"]),
    "decimal labels in csv": ("d.csv", "text,label\na,1\nb,0.5\nc,1\n", {}, ["row 2", "0.5", "whole numbers"]),
    "numbers as text": ("d.jsonl", '{"text":5,"label":1}\n{"text":"b","label":2}', {}, ["row 1", "int", "text"]),
    "lists as labels": ("d.jsonl", '{"text":"a","label":[1, 2]}', {}, ["row 1", "list"]),
    "broken JSON": ("d.json", "[{", {}, ["not valid JSON"]),
    "JSON lines as JSON": ("d.json", '{"text":"a"}\n{"text":"b"}', {}, [".jsonl"]),
    "broken line": ("d.jsonl", '{"text":"a","label":1}\n{oops', {}, ["row 2 (line 2)", "Fix"]),
    "no object": ("d.jsonl", "5\n", {}, ["row 1", "object"]),
    "not parquet": ("d.parquet", "text", {}, ["d.parquet", "cannot be read"]),
    "not arrow": ("d.arrow", "text", {}, ["d.arrow", "cannot be read"]),
    "wrong ending": ("d.docx", GOOD, {}, ["d.docx", "csv, tsv, json"]),
    "split of one file": ("d.csv", GOOD, {"validation": "dev"}, ["no named splits", "fraction"]),
    "small limit": ("d.csv", "text,label\n" + "".join(f"t,{i}\n" * 2 for i in range(20)), {"limit": 10}, ["raise"]),
    "too few rows": ("d.csv", "text,label\na,x\nb,y\nc,y\n", {}, ["too few"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_with_a_sentence(fault: str, tmp_path: Path) -> None:
    name, content, options, said = FAULTS[fault]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadData) as refused:
        load(tmp_path / name, **options)
    for part in said:
        assert part in refused.value.message, refused.value.message
    assert refused.value.message.endswith((".", "?"))
    assert refused.value.path[0] == "dataset"


def test_twins_in_parquet_are_refused(tmp_path: Path) -> None:
    table = pyarrow.table([["a"], ["b"], ["x"]], names=["text", "text", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(BadData, match="'text'"):
        load(tmp_path / "d.parquet")


def test_an_unlabelled_split_of_named_classes_is_refused(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    columns = {"text": ["a", "b"], "label": [-1, -1]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(BadData, match=r"row 1.*is this split labelled"):
        load(tmp_path / "d.parquet")


def test_given_splits_are_used_and_checked(tmp_path: Path) -> None:
    train, dev = tiny_csv(tmp_path / "train.csv"), tiny_csv(tmp_path / "dev.csv", rows=40, seed=1)
    data = load({"train": train, "validation": dev}, test=0)
    assert data.rows == {"train": 240, "validation": 40, "test": 0}
    assert "test" not in data.splits
    with pytest.raises(BadData, match="no file for the split 'held-out'") as refused:
        load({"train": train, "validation": dev}, test="held-out")
    assert refused.value.path == ["dataset", "test"]
    dev.write_text(dev.read_text() + "what a day,surprise\n")
    with pytest.raises(BadData, match=r"dev.csv, row 41 \(line 42\): the label 'surprise'") as refused:
        load({"train": train, "validation": dev})
    assert refused.value.path == ["dataset", "source", "validation"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/etc/passwd", "not a csv"),
        ("http://localhost/d.csv", "URLs"),
        ("file:///etc/passwd", "URLs"),
        ("nowhere/at/all.csv", "does not exist"),
        ("nowhere.csv", "does not exist"),
        ("..", "folder"),
        ("nobody/such-data", "nor a data set that could be loaded"),
    ],
)
def test_sources_that_are_no_data_are_refused(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BadData, match=said) as refused:
        load(source)
    assert refused.value.path == ["dataset", "source"]


def test_paths_must_lie_inside_the_data_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    path = tiny_csv(inside / "d.csv")
    (inside / "link.csv").symlink_to(tiny_csv(outside / "d.csv"))
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", f"{tmp_path / 'other'}:{inside}")
    assert load(path).rows["train"] > 0
    for wrong in (outside / "d.csv", inside / "link.csv", inside / ".." / "out" / "d.csv", outside / "absent.csv"):
        with pytest.raises(BadData, match="LUTHIER_DATA_ROOTS"):
            load(wrong)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "/")
    assert load(outside / "d.csv").rows["train"] > 0


def test_no_spec_reads_the_files_of_other_studies_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "luthier-data" / "store")  # below the working directory, as by default
    others = store.folder(1, 2)
    others.mkdir()
    tiny_csv(others / "predictions.csv")
    (tmp_path / "link").symlink_to(store.root)
    uploaded = store.root / "dataset-1"
    uploaded.mkdir()
    own = tiny_csv(uploaded / "data.csv")
    for roots in (str(tmp_path), str(store.root), "/"):
        monkeypatch.setenv("LUTHIER_DATA_ROOTS", roots)
        for wrong in (others / "predictions.csv", others, tmp_path / "link" / "1-2" / "predictions.csv", own):
            with pytest.raises(BadData, match=r"keeps the files of all its studies.*copy a file") as refused:
                local_path(str(wrong), "dataset", "source")
            assert refused.value.path == ["dataset", "source"]
        with pytest.raises(BadData, match="keeps the files of all its studies"):
            local_path(str(others), "model")
    set_uploaded({"1" * 16: str(uploaded)})
    try:
        assert local_path(f"dataset:{'1' * 16}", "dataset", "source") == own, "one's own data set is there"
    finally:
        set_uploaded({})
    (tmp_path / ".mark").write_text("a note of somebody")
    assert local_path(str(tiny_csv(tmp_path / "d.csv")), "dataset", "source") == tmp_path / "d.csv"
