"""First specs: the task and the columns that are guessed for data of many kinds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from luthier.studies.spec import parse_spec
from luthier.trials.data.first_spec import look, name_of, written
from luthier.trials.errors import BadData

Rows = list[dict[str, Any]]
WORDS = "a long enough sentence about the thing number"


def _texts(column: str, **others: Callable[[int], Any]) -> Rows:
    return [{column: f"{WORDS} {i}"} | {name: value(i) for name, value in others.items()} for i in range(60)]


def _answer(i: int) -> dict[str, Any]:
    return {"text": [WORDS], "answer_start": [0]}


def _chat(i: int) -> Any:
    return [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": "yes"}]


TABLES: dict[str, tuple[Rows, str, dict[str, str]]] = {
    "classes": (_texts("sms", kind=lambda i: "ab"[i % 2]), "text-classification", {"text": "sms", "label": "kind"}),
    "stars": (_texts("review", stars=lambda i: i % 5), "text-classification", {"text": "review", "label": "stars"}),
    "ids": (
        _texts("text", id=lambda i: i, uuid=lambda i: f"x{i}", label=lambda i: "ab"[i % 2]),
        "text-classification",
        {"text": "text", "label": "label"},
    ),
    "numbers": (_texts("text", price=lambda i: i * 1.7), "text-regression", {"text": "text", "label": "price"}),
    "pairs": (
        [{"sentence1": f"{WORDS} {i}", "sentence2": f"{WORDS} b{i}", "label": i % 3} for i in range(60)],
        "text-classification",
        {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
    ),
    "lists": (
        _texts("text", topics=lambda i: ["a", "b"][: i % 3]),
        "text-multilabel-classification",
        {"text": "text", "label": "topics"},
    ),
    "separated": (
        _texts("text", tags=lambda i: ("a|b", "c", "b|c")[i % 3]),
        "text-multilabel-classification",
        {"text": "text", "label": "tags"},
    ),
    "words": (
        [{"tokens": ["Ann", f"w{i}"], "ner_tags": ["B-PER", "O"]} for i in range(20)],
        "token-classification",
        {"tokens": "tokens", "label": "ner_tags"},
    ),
    "questions": (
        [{"id": i, "question": f"{i}?", "context": f"{WORDS} {i}", "answers": _answer(i)} for i in range(20)],
        "question-answering",
        {"question": "question", "context": "context", "answers": "answers"},
    ),
    "chats": ([{"messages": _chat(i)} for i in range(20)], "text-generation", {"messages": "messages"}),
    "instructions": (
        _texts("instruction", output=lambda i: f"{WORDS} of {i}"),
        "text-generation",
        {"prompt": "instruction", "completion": "output"},
    ),
    "translations": (
        _texts("en", de=lambda i: f"{WORDS} auf {i}"),
        "text2text-generation",
        {"source": "en", "target": "de"},
    ),
    "texts": (_texts("body"), "text-generation", {"text": "body"}),
    "photographs": (
        [{"photo": f"{i}.jpg", "label": "ab"[i % 2]} for i in range(20)],
        "image-classification",
        {"image": "photo", "label": "label"},
    ),
    "masks": (
        [{"image": f"{i}.jpg", "mask": f"m{i}.png"} for i in range(20)],
        "image-segmentation",
        {"image": "image", "mask": "mask"},
    ),
    "clips": (
        [{"path": f"{i}.wav", "sentence": f"{WORDS} {i}"} for i in range(20)],
        "automatic-speech-recognition",
        {"audio": "path", "text": "sentence"},
    ),
    "sounds": (
        [{"file": f"{i}.flac", "category": "ab"[i % 2]} for i in range(20)],
        "audio-classification",
        {"audio": "file", "label": "category"},
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_task_and_columns_of_a_table(kind: str, tmp_path: Path) -> None:
    rows, task, columns = TABLES[kind]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = look(str(file))
    assert (seen.guess.task, seen.guess.columns, seen.rows) == (task, columns, len(rows))
    assert parse_spec(written(seen)).task == task


def test_unequal_classes_and_missing_labels_are_told(tmp_path: Path) -> None:
    file = tmp_path / "My SMS.v2.csv"
    labels = ["ham"] * 90 + ["spam"] * 9 + [""]
    file.write_text("text,label\n" + "".join(f"{WORDS} {i},{label}\n" for i, label in enumerate(labels)))
    text = written(look(str(file)))
    assert "# 2 classes: ham 91%, spam 9%" in text
    assert "# 1 rows have no label" in text
    spec = parse_spec(text)
    assert (spec.name, spec.objective.metric) == ("my-sms", "macro_f1")


def test_a_folder_of_classes_with_a_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / split / label / f"{i}.png")
    seen = look(str(tmp_path))
    assert (seen.guess.task, seen.rows, seen.splits) == ("image-classification", 6, ("test",))
    assert "test" not in yaml.safe_load(written(seen))["dataset"]


def _listed(folder: Path, *names: str) -> Path:
    """Write images, and tables with these names that list them."""
    lines = []
    for i in range(20):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "label": "ab"[i % 2]}))
    for name in names:
        (folder / name).write_text("\n".join(lines))
    return folder


def test_tables_beside_images_that_are_left_out_are_named(tmp_path: Path) -> None:
    text = written(look(str(_listed(tmp_path, "1.jsonl", "2.jsonl", "3.jsonl"))))
    assert yaml.safe_load(text)["dataset"]["source"] == f"{tmp_path}/1.jsonl"
    assert "# not read: 2.jsonl, 3.jsonl; join tables of the same kind, or" in text
    parse_spec(text)


def test_tables_beside_images_that_are_called_by_splits_are_taken_so(tmp_path: Path) -> None:
    seen = look(str(_listed(tmp_path, "test.jsonl", "train.jsonl")))
    text = written(seen)
    assert yaml.safe_load(text)["dataset"]["source"] == {
        "train": f"{tmp_path}/train.jsonl",
        "test": f"{tmp_path}/test.jsonl",
    }
    assert seen.splits == ("test",)
    assert "not read" not in text
    parse_spec(text)


def test_html_and_yaml_in_names_stay_text(tmp_path: Path) -> None:
    rows = _texts("a: {b} # c", **{"label": lambda i: ("x\n- y: 1", "<b>")[i % 2]})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert parse_spec(written(look(str(file)))).dataset.columns["text"] == "a: {b} # c"


@pytest.mark.parametrize(
    ("content", "told"), [("x,y\n1,2\n3,4\n", "does not tell what is to be learned"), ("text,label\n", "has no rows")]
)
def test_what_tells_nothing_is_refused(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(content)
    with pytest.raises(BadData, match=told):
        look(str(file))


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="does not exist"):
        look(str(tmp_path / "none.csv"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadData, match="no table, no images and no sounds"):
        look(str(tmp_path / "folder"))


@pytest.mark.parametrize(("source", "name"), [("a/B C.tar.csv", "b-c"), ("日本.csv", "study"), ("x" * 90, "x" * 40)])
def test_names(source: str, name: str) -> None:
    assert name_of(source) == name


@pytest.mark.parametrize("name", ["2024", "007", "1e5", "true", "null", "0x1f"])
def test_names_and_columns_that_look_like_numbers_stay_words(name: str, tmp_path: Path) -> None:
    rows = [{"text": row["text"], name: row["label"]} for row in _texts("text", label=lambda i: "ab"[i % 2])]
    file = tmp_path / f"{name}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    spec = parse_spec(written(look(str(file))))
    assert spec.name == name
    assert spec.dataset.columns["label"] == name
