"""Answers to questions: every form is read, what is certain is mended and told, what is not is refused with its row."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.answer_targets import AnswerTargets
from luthier.trials.data.load import Data, load_data
from luthier.trials.errors import BadData
from tests.support.tiny_questions import as_squad, tiny_questions

ROWS = tiny_questions(30)
CONTEXT = "Über Zürich: Anna lebt in Rom.\nSeit Mai lebt Bob in Rom, und Eva auch."


def load(file: Path, **columns: str) -> Data:
    dataset = Dataset.model_validate({"source": str(file), "validation": 0.2, "columns": columns})
    return load_data(dataset, "question-answering", AnswerTargets, seed=3, verify=True)


def write(folder: Path, rows: list[dict[str, Any]], kind: str) -> Path:
    file = folder / f"data.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif kind == "arrow":
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    elif kind == "csv":
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = "\n".join(map(json.dumps, rows))
        file.write_text(lines if kind == "jsonl" else json.dumps(rows))
    return file


def targets(data: Data) -> dict[str, Any]:
    """Return question and context -> answers, over all splits."""
    return {
        f"{question} {context}": answers
        for split in data.splits.values()
        for question, context, answers in zip(
            split.columns["question"], split.columns["context"], split.targets, strict=True
        )
    }


def expected(rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    return {
        f"{row['question']} {row['context']}": [
            [start, text] for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        ]
        for row in rows
    }


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow"])
def test_rows_of_the_hub_are_read(kind: str, tmp_path: Path) -> None:
    data = load(write(tmp_path, ROWS, kind))
    assert targets(data) == expected()
    assert data.targets.unanswerable
    assert [found.code for found in data.findings] == ["no-answers"]


def test_lists_of_answers_are_read(tmp_path: Path) -> None:
    def listed(row: dict[str, Any]) -> list[dict[str, Any]]:
        pairs = zip(*row["answers"].values(), strict=True)
        return [{"text": text, "answer_start": start} for text, start in pairs]

    assert targets(load(write(tmp_path, [{**row, "answers": listed(row)} for row in ROWS], "jsonl"))) == expected()


def test_squads_own_json_is_read_and_its_titles_are_groups(tmp_path: Path) -> None:
    file = tmp_path / "train-v2.0.json"
    squad = as_squad(ROWS)
    for article in squad["data"]:
        for paragraph in article["paragraphs"]:
            if paragraph["qas"][0]["is_impossible"]:  # as SQuAD 2.0 has it
                paragraph["qas"][0]["plausible_answers"] = [{"text": "the", "answer_start": 0}]
    for value in (squad, squad["data"], {"paragraphs": [p for a in squad["data"] for p in a["paragraphs"]]}):
        file.write_text(json.dumps(value))
        assert targets(load(file)) == expected()
    file.write_text(json.dumps(squad))
    groups = [set(split.groups or ()) for split in load(file, group="title").splits.values()]
    assert groups[0]
    assert groups[0].isdisjoint(groups[1])


def test_csv_with_texts_is_read_and_it_is_told_that_places_were_searched(tmp_path: Path) -> None:
    rows = [{**row, "answers": "".join(row["answers"]["text"])} for row in ROWS]
    data = load(write(tmp_path, rows, "csv"))
    assert targets(data) == expected()
    assert [(found.code, found.count) for found in data.findings] == [("answers-searched", 20), ("no-answers", 10)]


def test_csv_with_places_in_a_column_is_read(tmp_path: Path) -> None:
    rows = [{**row, **{"answers": row["answers"]["text"], "at": row["answers"]["answer_start"]}} for row in ROWS]
    cells = [{**row, "answers": "".join(row["answers"]), "at": "".join(map(str, row["at"]))} for row in rows]
    assert targets(load(write(tmp_path, cells, "csv"), answer_start="at")) == expected()
    lists = [{**row, "answers": json.dumps(row["answers"]), "at": json.dumps(row["at"])} for row in rows]
    assert targets(load(write(tmp_path, lists, "csv"), answer_start="at")) == expected()


def test_csv_with_json_in_its_cells_is_read(tmp_path: Path) -> None:
    rows = [{**row, "answers": json.dumps(row["answers"])} for row in ROWS]
    assert targets(load(write(tmp_path, rows, "csv"))) == expected()


BYTES = len(CONTEXT[: CONTEXT.rindex("Rom")].encode())
MENDED: dict[str, tuple[str, str, int | None, str, int]] = {
    "right": (CONTEXT, "Rom", CONTEXT.index("Rom"), "", CONTEXT.index("Rom")),
    "blanks around it": (CONTEXT, " Rom ", CONTEXT.index("Rom") - 1, "", CONTEXT.index("Rom")),
    "once": (CONTEXT, "Mai", 2, "once", CONTEXT.index("Mai")),
    "one too many": (CONTEXT, "Rom", CONTEXT.index("Rom") + 1, "off by one", CONTEXT.index("Rom")),
    "one too few": (CONTEXT, "Rom", CONTEXT.rindex("Rom") - 1, "off by one", CONTEXT.rindex("Rom")),
    "bytes": (CONTEXT, "Rom", BYTES, "counts bytes", CONTEXT.rindex("Rom")),
    "UTF-16": ("\U0001f600" * 4 + " Rom, Rom", "Rom", 14, "UTF-16", 10),
    "other line ends": ("a\nb\nc\nd Rom Rom", "Rom", 11, "line ends as two", 8),
    "line ends that are two": ("a\r\nb\r\nc\r\nd Rom Rom", "Rom", 8, "line ends as one", 11),
    "other blanks": ("He lives\nin Rome.", "lives in Rome", 3, "other blanks", 3),
    "other capitals": ("He lives in Rome.", "rome", 12, "other blanks or capitals", 12),
    "a word that others hold": ("Romeo is in Rome, Romeo.", "Rome", None, "", 12),
    "words": ("Rome is where he said he was, in Rome.", "Rome", 8, "counts words", 33),
    "not words: a part of one": ("years in 500 and 5", "5", 2, "once", 17),
    "letters with accents of their own": ("a cafe\u0301 in Rome", "caf\u00e9", None, "form of Unicode", 2),
    "letters with accents in them": ("a caf\u00e9 in Rome", "cafe\u0301", 2, "form of Unicode", 2),
    "places in composed letters": (
        "e\u0301 a cafe\u0301, a cafe\u0301",
        "caf\u00e9",
        12,
        "form of Unicode",
        14,
    ),
    "behind the end": (CONTEXT, "Mai", 900, "once", CONTEXT.index("Mai")),
}


@pytest.mark.parametrize("kind", MENDED)
def test_what_is_certain_is_mended_and_told(kind: str, tmp_path: Path) -> None:
    context, text, start, told, place = MENDED[kind]
    row = {"question": "Where?", "context": context, "answers": {"text": [text], "answer_start": [start]}}
    data = load(write(tmp_path, [row, *tiny_questions(20, answered=True)], "json"))
    ((found, said),) = targets(data)[f"Where? {context}"]
    assert found == place
    assert context[found : found + len(said)] == said
    moved = [finding for finding in data.findings if finding.code == "answers-moved"]
    assert len(moved) == bool(told)
    assert all(told in finding.message and "row 1" in finding.examples[0] for finding in moved)
    assert not data.targets.unanswerable


def test_places_that_are_mostly_of_something_else_are_warned_of(tmp_path: Path) -> None:
    rows = tiny_questions(20, answered=True)
    for row in rows:
        place = row["answers"]["answer_start"][0]
        row["answers"]["answer_start"] = [len(row["context"][:place].split())]
    found = [finding for finding in load(write(tmp_path, rows, "json")).findings if finding.code == "answers-moved"]
    (said,) = [finding for finding in found if finding.severity == "warning"]
    assert "counts words. They are most of the 20" in said.text
    assert "characters before an answer" in said.text


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "several places": ({"text": ["Rom"], "answer_start": [3]}, ["'Rom' does not stand", "2 times", "answer_start"]),
    "no place of several": ({"text": ["Rom"]}, ["occurs 2 times", "number of characters before it (answer_start)"]),
    "not in the context": ({"text": ["Wien"], "answer_start": [3]}, ["'Wien' does not occur", "remove the row"]),
    "blank": ({"text": [" "], "answer_start": [0]}, ["an answer that is blank", "empty lists"]),
    "nothing": ({"text": [None], "answer_start": [0]}, ["holds nothing where the text of an answer is wanted"]),
    "missing": (None, ["is missing", "empty lists"]),
    "a number": (7, ["holds int (7)", '{"text": ["Paris"]']),
    "more texts than places": ({"text": ["Rom", "Mai"], "answer_start": [3]}, ["2 answers and 1 places"]),
    "a place that is none": ({"text": ["Mai"], "answer_start": ["x"]}, ["the place 'x'", "number of characters"]),
    "a place below 0": ({"text": ["Mai"], "answer_start": [-1]}, ["the place -1", "leave the place out"]),
    "a place of 400 digits": ({"text": ["Mai"], "answer_start": [10**400]}, ["the place 1000", "number of characters"]),
    "half a place": ({"text": ["Mai"], "answer_start": [2.5]}, ["the place 2.5"]),
    "places that are text": ({"text": ["Mai"], "answer_start": "2"}, ["1 answers and 1 places"]),
    "no text": ({"answer": "Rom"}, ["without the key text"]),
    "Python's form": ("{'text': array(['Rom'], dtype=object)}", ["as Python prints it", "json.dumps"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_certain_is_refused_with_row_and_cure(kind: str, tmp_path: Path) -> None:
    answers, said = REFUSED[kind]
    rows = [*tiny_questions(20), {"question": "Where?", "context": CONTEXT, "answers": answers}]
    with pytest.raises(BadData) as refused:
        load(write(tmp_path, rows, "jsonl"))
    for part in ("data.jsonl, row 21 (line 21)", *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]


def _broken(**changes: Any) -> dict[str, Any]:
    squad = as_squad(tiny_questions(20))
    squad["data"][1]["paragraphs"][2]["qas"][0].update(changes)
    return squad


SQUAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "impossible with answers": (
        _broken(is_impossible=True, answers=[{"text": "the", "answer_start": 0}]), ["is_impossible is true"],
    ),
    "possible without": (_broken(is_impossible=False, answers=[]), ["is_impossible is false", "add it"]),
    "an answer elsewhere": (
        _broken(is_impossible=False, answers=[{"text": "Wien", "answer_start": 0}]), ["(id q6)", "does not occur"],
    ),
    "a mark that is text": (_broken(is_impossible="true"), ["is_impossible is 'true'", "write true or false"]),
    "a mark that is a number": (_broken(is_impossible=1), ["is_impossible is 1", "write true or false"]),
    "no question": (_broken(question=None), ["'question' is empty"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SQUAD)
def test_squads_own_json_is_refused_with_the_question(kind: str, tmp_path: Path) -> None:
    squad, said = SQUAD[kind]
    (tmp_path / "d.json").write_text(json.dumps(squad))
    with pytest.raises(BadData) as refused:
        load(tmp_path / "d.json")
    for part in ("d.json, article 2, paragraph 3, question 1", *said):
        assert part in refused.value.message, refused.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qas": "none"}, "article 1, paragraph 1: has no list of objects as 'qas'"),
        ({"context": None}, "article 1, paragraph 1: has no text as context"),
    ],
)
def test_a_paragraph_that_lacks_a_part_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    squad = as_squad(tiny_questions(20))
    squad["data"][0]["paragraphs"][0].update(change)
    (tmp_path / "d.json").write_text(json.dumps(squad))
    with pytest.raises(BadData, match=said):
        load(tmp_path / "d.json")


def test_empty_contexts_are_refused(tmp_path: Path) -> None:
    rows = [*tiny_questions(20), {"question": "Where?", "context": " ", "answers": {"text": [], "answer_start": []}}]
    with pytest.raises(BadData, match=r"row 21.*'context' is empty; fill it in"):
        load(write(tmp_path, rows, "jsonl"))


def test_a_file_of_no_articles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text('{"version": "v2.0", "data": []}')
    with pytest.raises(BadData, match=r"squad.json holds no questions: its list of articles \(data\) is empty"):
        load(path)


def test_training_without_any_answer_is_refused(tmp_path: Path) -> None:
    rows = [row for row in tiny_questions(60) if not row["answers"]["text"]]
    with pytest.raises(BadData, match="no question that is left to train on has an answer"):
        load(write(tmp_path, rows, "jsonl"))


def test_repeated_questions_are_told_and_stay_on_one_side(tmp_path: Path) -> None:
    other = {**ROWS[0], "answers": {"text": [ROWS[0]["context"][:4]], "answer_start": [0]}}
    data = load(write(tmp_path, [*ROWS, ROWS[2], other], "jsonl"))
    codes = {found.code: found for found in data.findings}
    assert {"repeats", "contradictory-labels"} <= codes.keys()
    assert "Questions with more than one label: 1" in codes["contradictory-labels"].message
    for row in (ROWS[0], ROWS[2]):
        holders = [split for split in data.splits.values() if row["context"] in split.columns["context"]]
        assert len(holders) == 1


def test_questions_without_answer_in_one_split_only_and_long_answers_are_warned_of(tmp_path: Path) -> None:
    long = {"question": "all?", "context": "so " * 60, "answers": {"text": ["so " * 59 + "so"], "answer_start": [0]}}
    train = write(tmp_path, [*tiny_questions(10, answered=True), long], "json")
    test = write(tmp_path, tiny_questions(20, seed=5), "jsonl")
    dataset = Dataset.model_validate({"source": {"train": str(train), "validation": str(test)}, "test": 0})
    data = load_data(dataset, "question-answering", AnswerTargets, seed=3, verify=True)
    told = {found.code: found for found in data.findings}
    assert told["no-answers"].severity == told["long-answers"].severity == "warning"
    assert "0 of 11 in train" in told["no-answers"].message
    assert told["long-answers"].count == 1
