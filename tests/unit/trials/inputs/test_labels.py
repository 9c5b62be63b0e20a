"""Labels as people write them: one class for all spellings, a warning for what looks wrong, or a refusal."""

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Finding, Severity
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.label_findings import label_findings
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about

CODES = ("labels-merged", "near-equal-labels", "missing-labels")


def write(path: Path, labels: Sequence[Any]) -> Path:
    """Write texts with labels: a csv of texts, or jsonl."""
    if path.suffix == ".csv":
        path.write_text("text,label\n" + "".join(f'text {i},"{label}"\n' for i, label in enumerate(labels)))
    else:
        path.write_text("".join(json.dumps({"text": f"text {i}", "label": v}) + "\n" for i, v in enumerate(labels)))
    return path


def write_tags(path: Path, sentences: list[list[str]]) -> Path:
    """Write a different sentence for each list of tags, as jsonl."""
    rows = [{"tokens": [f"w{n}x{i}" for i in range(len(tags))], "ner_tags": tags} for n, tags in enumerate(sentences)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def wide(text: str) -> str:
    """Return the full-width form of a text."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


def load(source: Any, task: str = "text-classification", semantics: int = 2, **options: Any) -> Data:
    source = {name: str(file) for name, file in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), task, 0, True, semantics)


def found(data: Data, code: str) -> Finding:
    (finding,) = about(data, code)
    return finding


MERGED: dict[str, tuple[str, list[Any], dict[str, int], str]] = {
    "a blank behind": ("csv", ["pos"] * 8 + ["neg"] * 8 + ["pos "], {"neg": 8, "pos": 9}, "'pos ' (1) into 'pos' (8)"),
    "a blank before": ("csv", ["pos"] * 8 + ["neg"] * 8 + [" pos"], {"neg": 8, "pos": 9}, "' pos' (1) into 'pos' (8)"),
    "two blanks": ("csv", ["not x", "x"] * 8 + ["not  x"], {"not x": 9, "x": 8}, "'not  x' (1) into 'not x' (8)"),
    "a tab": ("jsonl", ["not x", "x"] * 8 + ["not\tx"], {"not x": 9, "x": 8}, r"'not\tx' (1)"),
    "a no-break space": ("csv", ["pos", "neg"] * 8 + ["pos\u00a0"], {"neg": 8, "pos": 9}, r"'pos\xa0' (1)"),
    "a zero-width space": ("csv", ["pos", "neg"] * 8 + ["p\u200bos"], {"neg": 8, "pos": 9}, r"'p\u200bos' (1)"),
    "a byte order mark": ("csv", ["pos", "neg"] * 8 + ["\ufeffpos"], {"neg": 8, "pos": 9}, r"'\ufeffpos' (1)"),
    "a soft hyphen": ("csv", ["pos", "neg"] * 8 + ["p\u00ados"], {"neg": 8, "pos": 9}, r"'p\xados' (1)"),
    "an invisible spelling more often": (
        *("csv", ["pos\u200b"] * 8 + ["neg"] * 8 + ["pos"]),
        *({"neg": 8, "pos": 9}, r"'pos\u200b' (8) into 'pos' (1)"),
    ),
    "a blank behind more often": (
        *("csv", ["pos "] * 8 + ["neg"] * 8 + ["pos"]),
        *({"neg": 8, "pos": 9}, "'pos ' (8) into 'pos' (1)"),
    ),
    "a blank behind as often, in capitals": (
        *("jsonl", [True, "TRUE ", False] * 5),
        *({"false": 5, "true": 10}, "'TRUE ' (5) into 'true' (5)"),
    ),
    "capitals": ("csv", ["Pos"] * 3 + ["neg"] * 8 + ["POS"] * 4, {"POS": 7, "neg": 8}, "'Pos' (3) into 'POS' (4)"),
    "as often": ("csv", ["pos", "Pos", "neg"] * 4, {"Pos": 8, "neg": 4}, "'pos' (4) into 'Pos' (4)"),
    "one letter": ("csv", ["y"] * 5 + ["Y"] * 4 + ["N"] * 5, {"N": 5, "y": 9}, "'Y' (4) into 'y' (5)"),
    "true and TRUE": ("csv", ["True", "TRUE", "true", "false"] * 4, {"TRUE": 12, "false": 4}, "'True' (4), 'true' (4)"),
    "true and 'true'": ("jsonl", [True, False] * 5 + ["True"], {"false": 5, "true": 6}, "'True' (1) into 'true' (5)"),
    "composed and decomposed": (
        *("csv", ["café"] * 6 + [unicodedata.normalize("NFD", "café")] * 2 + ["bar"] * 6),
        *({"bar": 6, "café": 8}, r"'cafe\u0301' (2) into 'café' (6)"),
    ),
    "full width": (
        "csv",
        ["pos", "neg"] * 8 + [wide("pos")],
        {"neg": 8, "pos": 9},
        f"'{wide('pos')}' (1) into 'pos' (8)",
    ),
    "a ligature": ("csv", ["file", "neg"] * 8 + ["ﬁle"], {"file": 9, "neg": 8}, "'ﬁle' (1) into 'file' (8)"),
    "a number in many ways": (
        *("csv", ["1"] * 8 + ["1.0", "01", "+1", wide("1")] + ["2"] * 8),
        *({"1": 12, "2": 8}, f"'+1' (1), '01' (1), '1.0' (1), '{wide('1')}' (1) into '1' (8)"),
    ),
    "a number as number and text": ("jsonl", [1] * 8 + ["01"] + [2] * 8, {"1": 9, "2": 8}, "'01' (1) into '1' (8)"),
}


@pytest.mark.parametrize("kind", MERGED)
def test_spellings_of_a_label_are_one_class(kind: str, tmp_path: Path) -> None:
    ending, labels, classes, told = MERGED[kind]
    data = load(write(tmp_path / f"d.{ending}", labels))
    assert data.labels == classes
    finding = found(data, "labels-merged")
    assert told in finding.message
    assert (finding.severity, bool(finding.cure)) == (Severity.WARNING, True)
    assert sum(len(split) for split in data.splits.values()) == len(labels)


APART: dict[str, tuple[list[Any], list[str]]] = {
    "words with ß and ss": (["Maße", "Masse"] * 8, ["Masse", "Maße"]),
    "letters of an alphabet": ([c for x in "abcdefghij" for c in (x, x.upper())] * 3, sorted("abcdefghijABCDEFGHIJ")),
    "versions": (["v1.1", "v1.10"] * 8, ["v1.1", "v1.10"]),
    "numbers in one writing": (["01", "02"] * 8, ["01", "02"]),
    "whole decimals": (["1.0", "2.0"] * 8, ["1.0", "2.0"]),
    "a blank that all have": ([" pos", " neg"] * 8, [" neg", " pos"]),
    "signs": (["+", "-"] * 8, ["+", "-"]),
    "punctuation": ([".", "?", ","] * 8, [",", ".", "?"]),
    "numbered": (["class1"] * 90 + ["class2"] * 3, ["class1", "class2"]),
    "numerals": (["stage i"] * 90 + ["stage ii"] * 3 + ["stage iii"] * 3, ["stage i", "stage ii", "stage iii"]),
    "grades": (["AA"] * 90 + ["AAA"] * 3, ["AA", "AAA"]),
    "male and female": (["female"] * 90 + ["male"] * 3, ["female", "male"]),
    "a prefix": (["typical"] * 90 + ["atypical"] * 3, ["atypical", "typical"]),
    "short words": (["hate"] * 90 + ["date"] * 3 + ["cat"] * 90 + ["car"] * 3, ["car", "cat", "date", "hate"]),
    "letters as names": (["CategoryA"] * 90 + ["CategoryB"] * 3, ["CategoryA", "CategoryB"]),
    "common beside common": (["advisor"] * 40 + ["adviser"] * 40, ["adviser", "advisor"]),
}


@pytest.mark.parametrize("kind", APART)
def test_labels_that_are_meant_as_they_are(kind: str, tmp_path: Path) -> None:
    labels, names = APART[kind]
    data = load(write(tmp_path / "d.jsonl", labels))
    assert data.label_names == names
    assert not about(data, *CODES)


NEAR = {
    "a doubled letter": ("spamm", "spam"),
    "a letter left out": ("postive", "positive"),
    "a letter added": ("neutrals", "neutral"),
    "two letters exchanged": ("postiive", "positive"),
    "neighbours exchanged": ("psoitive", "positive"),
    "another letter": ("negatave", "negative"),
    "one word of several": ("very postive", "very positive"),
    "other separators": ("not_spam", "not spam"),
    "no separator": ("NotSpam", "not-spam"),
}


@pytest.mark.parametrize("kind", NEAR)
def test_nearly_equal_labels_stay_apart_with_a_warning(kind: str, tmp_path: Path) -> None:
    rare, common = NEAR[kind]
    data = load(write(tmp_path / "d.csv", [common] * 40 + ["other"] * 40 + [rare] * 2))
    assert data.labels == {common: 40, "other": 40, rare: 2}
    finding = found(data, "near-equal-labels")
    assert (finding.count, finding.examples) == (1, [f"{rare!r} (2) and {common!r} (40)"])


@pytest.mark.parametrize("gap", ["nan", "NaN", "None", "N/A", "NA", "null", "NULL", "-", "?", "n.a.", "<NA>"])
def test_a_word_for_a_missing_value(gap: str, tmp_path: Path) -> None:
    for labels in (["1", "2"] * 8, ["True", "False"] * 8, ["1.0", "0.0"] * 8):
        with pytest.raises(BadData) as refused:
            load(write(tmp_path / "d.csv", [*labels, gap]))
        told = ("d.csv, row 17 (line 18)", "column 'label'", repr(gap), "label the row or remove it")
        assert all(part in refused.value.message for part in told), refused.value.message
        assert refused.value.path == ["dataset", "source"]
    data = load(write(tmp_path / "t.csv", ["joy", "anger"] * 20 + [gap] * 5))
    assert data.labels == {"joy": 20, "anger": 20, gap: 5}, "among names it may be one"
    assert found(data, "missing-labels").count == 5


def test_gaps_in_columns_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"row 17 .*holds nan among numbers"):
        load(write(tmp_path / "d.jsonl", [1.0, 2.0] * 8 + [float("nan")]))
    with pytest.raises(BadData, match=r"row 17 .*is empty; label the row or remove it"):
        load(write(tmp_path / "d.jsonl", [1.0, 2.0] * 8 + [None]))
    with pytest.raises(BadData, match=r"row 17 .*holds 'none' among true and false"):
        load(write(tmp_path / "d.jsonl", [True, False] * 8 + ["none"]))
    with pytest.raises(BadData, match=r"row 1 .*cannot be printed"):
        load(write(tmp_path / "d.jsonl", ["\u200b"] + ["x", "y"] * 8))


def test_numbers_truth_values_and_lists_in_json(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.jsonl", [1.0, 2.0] * 8)).labels == {"1": 8, "2": 8}, "pandas' whole numbers"
    assert load(write(tmp_path / "b.jsonl", [[1], [2]] * 8)).labels == {"1": 8, "2": 8}
    assert load(write(tmp_path / "c.jsonl", [["x"], "y"] * 8)).labels == {"x": 8, "y": 8}
    for values, told in (([["x", "y"], ["x"]], "a list of 2 labels"), ([[], ["x"]], "is empty; label the row")):
        with pytest.raises(BadData, match=rf"row 1 .*{told}"):
            load(write(tmp_path / "d.jsonl", values * 8))
    with pytest.raises(BadData, match=r"row 2 .*labels must be of one type"):
        load(write(tmp_path / "e.jsonl", [1, "x"] * 8))


def test_one_class_over_all_splits(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", ["pos", "neg"] * 20), write(tmp_path / "test.csv", ["Pos", "neg "] * 5)
    data = load({"train": train, "test": test})
    assert data.labels == {"neg": 25, "pos": 25}
    assert set(data.splits["test"].targets) == {0, 1}
    assert found(data, "labels-merged").count == 10
    mixed = {"train": write(tmp_path / "t.jsonl", [1, 2] * 20), "test": write(tmp_path / "v.csv", ["1.0", "02"] * 5)}
    assert load(mixed).labels == {"1": 25, "2": 25}


def test_a_slip_in_another_split_is_refused_with_the_label_that_is_meant(tmp_path: Path) -> None:
    source = {"train": write(tmp_path / "a.csv", ["spam", "ham"] * 20), "test": write(tmp_path / "b.csv", ["spamm"])}
    with pytest.raises(BadData, match=r"b.csv, row 1 \(line 2\): the label 'spamm' .*\(did you mean 'spam'\?\)"):
        load(source)


def test_studies_of_before_keep_their_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ["pos", "neg"] * 8 + ["pos ", "POS", "None"])
    assert load(path, semantics=1).label_names == ["None", "POS", "neg", "pos", "pos "]
    assert load(write(tmp_path / "n.csv", ["1", "2"] * 8 + ["nan"]), semantics=1).label_names == ["1", "2", "nan"]


def classes(path: Path, ids: Sequence[int], names: Sequence[str]) -> Path:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    columns = {"text": [f"{path.stem} {i}" for i in range(len(ids))], "label": list(ids)}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)
    return path


def test_declared_names_are_kept_with_a_warning(tmp_path: Path) -> None:
    data = load(classes(tmp_path / "d.parquet", [0, 1, 2] * 8, ["Pos", "pos", "none"]))
    assert data.label_names == ["Pos", "pos", "none"]
    assert found(data, "near-equal-labels").count == 1
    assert not about(data, "missing-labels", "labels-merged"), "a declared class may be called none"
    assert found(load(classes(tmp_path / "u.parquet", [0, 2] * 8, ["a", "b", "c"])), "unused-labels").examples == ["b"]


def test_declared_names_in_another_order_mean_the_same(tmp_path: Path) -> None:
    train = classes(tmp_path / "train.parquet", [0, 1] * 20, ["neg", "pos"])
    data = load({"train": train, "test": classes(tmp_path / "a.parquet", [0, 0, 1], ["pos", "neg"])})
    assert [data.label_names[i] for i in data.splits["test"].targets] == ["pos", "pos", "neg"]
    data = load({"train": train, "test": write(tmp_path / "a.csv", ["pos", "neg"])})
    assert [data.label_names[i] for i in data.splits["test"].targets] == ["pos", "neg"]
    texts = write(tmp_path / "train.csv", ["neg", "pos"] * 20)
    data = load({"train": texts, "test": classes(tmp_path / "b.parquet", [0, 0, 1], ["pos", "neg"])})
    assert [data.label_names[i] for i in data.splits["test"].targets] == ["pos", "pos", "neg"]
    with pytest.raises(BadData, match=r"c.parquet, row 1: 'joy' is none of the classes that .*train.parquet declares"):
        load({"train": train, "test": classes(tmp_path / "c.parquet", [0, 1], ["joy", "neg"])})


def test_folders_as_classes(tmp_path: Path) -> None:
    for folder, count in (("Cat", 9), ("cat", 3), ("dog", 12)):
        (tmp_path / "pets" / folder).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i * 9, len(folder), count)).save(tmp_path / "pets" / folder / f"{i}.png")
    data = load(tmp_path / "pets", "image-classification")
    assert data.labels == {"Cat": 12, "dog": 12}
    assert "'cat' (3) into 'Cat' (9)" in found(data, "labels-merged").message


TAGS: dict[str, tuple[list[list[str]], list[str]]] = {
    "a blank": ([["O", "B-PER"], ["O", "B-PER "]], ["O", "B-PER"]),
    "a small letter": ([["O", "B-PER", "I-PER"], ["o", "b-per", "O"]], ["O", "B-PER", "I-PER"]),
    "small letters alone": ([["o", "b-per", "i-per"]], ["O", "B-per", "I-per"]),
    "small letters inside alone": ([["o", "i-per", "i-loc"]], ["O", "I-loc", "I-per"]),
    "a kind in two spellings": ([["O", "B-Per", "I-PER", "I-PER"]], ["O", "B-PER", "I-PER"]),
    "a zero": ([["O", "B-PER", "I-PER"], ["0", "B-PER", "0"]], ["O", "B-PER", "I-PER"]),
    "zeros alone": ([["0", "B-PER", "I-PER"]], ["O", "B-PER", "I-PER"]),
    "full width": ([["O", "B-PER"], [wide("O"), wide("B-PER")]], ["O", "B-PER"]),
    "a kind with a hyphen": ([["O", "e-mail", "i-phone"]], ["O", "e-mail", "i-phone"]),
    "digits": ([["0", "1", "2"]], ["0", "1", "2"]),
    "punctuation": ([["O", ",", ".", "?"]], ["O", ",", ".", "?"]),
}


@pytest.mark.parametrize("kind", TAGS)
def test_spellings_of_a_tag_are_one(kind: str, tmp_path: Path) -> None:
    sentences, names = TAGS[kind]
    data = load(write_tags(tmp_path / "d.jsonl", sentences * 20), "token-classification")
    assert data.label_names == names
    written = {tag for tags in sentences for tag in tags}
    assert len(about(data, "labels-merged")) == (written != set(names))
    assert not about(data, "near-equal-labels", "missing-labels")


def test_tags_that_look_wrong(tmp_path: Path) -> None:
    rows = [["O", "B-PER", "I-PER"]] * 40 + [["None", "B-PERR", "I-PER"]] * 2
    data = load({"train": write_tags(tmp_path / "d.jsonl", rows)}, "token-classification")
    assert found(data, "missing-labels").examples == ["None"]
    assert found(data, "near-equal-labels").examples == ["'B-PERR' (2) and 'B-PER' (40)"]


def test_classes_that_splits_lack(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["a"] * 96 + ["b"] * 3 + ["c"])
    both = {
        "train": train,
        "validation": write(tmp_path / "v.csv", ["a"] * 9),
        "test": write(tmp_path / "t.csv", ["b"]),
    }
    data = load(both)
    assert found(data, "imbalance").examples == ["a"]
    assert "96.0%" in found(data, "imbalance").message
    assert found(data, "rare-labels").examples == ["c", "b"]
    assert found(data, "rare-labels").severity is Severity.NOTE
    assert found(data, "one-label-in-validation").examples == ["a"]
    assert found(data, "one-label-in-test").examples == ["b"]
    assert found(data, "labels-not-in-validation").examples == ["b", "c"]
    even = load(write(tmp_path / "even.csv", ["a", "b"] * 100))
    assert not even.findings


def test_a_tag_without_training_words(tmp_path: Path) -> None:
    sentences = {"train": [["O", "B-PER"]] * 20, "validation": [["B-PER", "I-PER"]] * 5}
    files = {name: write_tags(tmp_path / f"{name}.jsonl", rows) for name, rows in sentences.items()}
    data = load(files, "token-classification")
    assert found(data, "labels-not-in-training").examples == ["I-PER"]


def test_findings_are_looked_for_at_the_inspection_only(tmp_path: Path) -> None:
    dataset = Dataset.model_validate({"source": str(write(tmp_path / "d.csv", ["a"] * 99 + ["b"] * 5))})
    assert load_data(dataset, "text-classification", 0, True).findings
    assert not load_data(dataset, "text-classification", 0, False).findings


def test_many_labels_and_long_ones_cost_little(tmp_path: Path) -> None:
    names = [f"label {letter}{i}" for i in range(10_000) for letter in "ab"]
    counts = {split: dict.fromkeys(names, 1) for split in ("train", "validation")}
    assert not label_findings(counts, "rows", 0.9, declared=False), "in time, as it must not grow with their square"
    data = load(write(tmp_path / "d.csv", ["x" * 100_000, "y"] * 20 + ["X" * 100_000]))
    assert len(found(data, "labels-merged").message) < 1_000


def test_a_packed_models_labels_are_spelled_as_todays() -> None:
    packed = ClassTargets(("Pos ", "neg", "none", "gone"))
    assert packed.respelled(ClassTargets(("POS", "neg", "None"))).names == ("POS", "neg", "None", "gone")
    both = ClassTargets(("a", "A", "b"))
    assert both.respelled(ClassTargets(("A", "b", "a"))) == both, "as studies of before have them"
