"""Texts to learn: columns chosen by the data, conversations that cannot be used, and what is told of the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.dataset import Dataset
from luthier.studies.spec import parse_spec
from luthier.trials.data.load import Data, load_data
from luthier.trials.data.text_targets import TextTargets, TranslationTargets
from luthier.trials.errors import BadData

USER, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}


def load(
    folder: Path,
    rows: list[dict[str, Any]],
    columns: dict[str, str] | None = None,
    name: str = "d.jsonl",
    semantics: int = 2,
) -> Data:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    source = Dataset(source=str(path), columns=columns or {})
    return load_data(source, "text-generation", TextTargets, 0, verify=True, semantics=semantics)


def numbered(count: int = 20) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"Who is {i}?"}, {"role": "assistant", "content": f"{i} is."}]}
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "holds no messages; remove the row"),
        ([USER], "has no message of the assistant.*add an answer or remove the row"),
        ([USER, ANSWER, USER], "ends with a message of the role user; remove what follows"),
        ([ANSWER, USER, ANSWER], "begins with an answer"),
        ([USER, USER, ANSWER], "two messages of the role user in turn.*join them"),
        ([USER, ANSWER, ANSWER], "two messages of the role assistant"),
        ([USER, {"role": "system", "content": "Be."}, ANSWER], "the role system in message 2; it comes first"),
        ([USER, {"role": "tool", "content": "1"}, ANSWER], "a tool's message 2 that follows no call"),
        ([USER, {"role": "assistant", "content": "  "}], "has no content in message 2"),
        ([USER, {"role": "assistant", "content": None}], "has no content in message 2"),
        ([{"role": "human", "content": "Who?"}, ANSWER], "the role 'human'; write 'user'"),
        ([{"from": "human", "value": "Who?"}, ANSWER], '"from" and "value"; call them "role" and "content"'),
        (["Who?", "Me."], "holds str as message 1"),
        ("Who?", "holds str where a list of messages is wanted"),
        ("[{'role'", "a list that is no JSON"),
        ("[" * 100_000, "lists within lists"),
        ([{"role": "User", "content": "Who?"}, ANSWER], "the role 'User'; write 'user'"),
        ([{"role": " user", "content": "Who?"}, ANSWER], "the role ' user'; write 'user'"),
        ([{"instruction": "Who?", "output": "Me."}], "message 1 no role; its keys are instruction, output: write role"),
        ([USER, {"role": "assistant", "content": [{"type": "text", "text": None}]}], "nothing as the text of part 1"),
        ([USER, {"role": "assistant", "content": [{"type": "text", "text": 7}]}], "int as the text of part 1 of mess"),
        ([USER, {"role": "assistant", "content": [{"type": {"a": 1}}]}], "has {'a': 1} in message 2"),
        ([USER, {"role": "assistant", "content": [{"type": "image_url"}]}], "has image_url in message 2"),
        ([USER, {"role": "assistant", "content": 7}], "holds int as the content of message 2; write it as text"),
        ([USER, {"role": "assistant", "content": "a\0b"}], "a NUL character"),
        (
            [USER, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}],
            "ends with an answer that is empty",
        ),
    ],
)
def test_a_conversation_without_meaning_is_refused(tmp_path: Path, messages: Any, said: str) -> None:
    with pytest.raises(BadData, match=rf"row 4 \(line 4\): column 'messages' .*{said}"):
        load(tmp_path, [*numbered(3), {"messages": messages}, *numbered()])


def test_what_is_read_and_what_is_learned(tmp_path: Path) -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]}
    rows = numbered()
    rows[0] = {
        "messages": json.dumps([system, USER, ANSWER, USER, {"role": "assistant", "content": "You.", "name": None}])
    }
    data = load(tmp_path, rows)
    split = next(split for split in data.splits.values() if "You." in split.targets)
    read = split.columns["messages"][split.targets.index("You.")]
    assert read == [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER]
    told = {finding.code: finding for finding in data.findings}
    assert "1 answers before the last ones" in told["answers-as-context"].message


def test_every_answer_is_a_target_where_the_spec_says_so(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    turns = [USER, ANSWER, USER, call, {"role": "tool", "content": "1"}, {"role": "assistant", "content": "You."}]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*numbered(), {"messages": turns}]), encoding="utf-8")
    data = load_data(Dataset(source=str(path), learn="all"), "text-generation", TextTargets, 0, verify=True)
    assert ("Me.", "You.") in [target for split in data.splits.values() for target in split.targets]
    assert "answers-as-context" not in {finding.code for finding in data.findings}
    path.write_text("\n".join(json.dumps({"text": f"t {i}"}) for i in range(20)))
    with pytest.raises(BadData, match=r"^all is for conversations \(a column messages\), and the data has") as refused:
        load_data(Dataset(source=str(path), learn="all"), "text-generation", TextTargets, 0)
    assert refused.value.path == ["dataset", "learn"]
    spec = {"name": "a", "task": "question-answering", "model": "m", "space": {}}
    with pytest.raises(ValueError, match="a row of question-answering is no conversation; leave it out"):
        parse_spec(json.dumps(spec | {"dataset": {"source": "d.json", "learn": "all"}}))


def test_the_data_chooses_among_the_columns(tmp_path: Path) -> None:
    pairs = [{"prompt": f"p {i}", "completion": f"c {i}"} for i in range(20)]
    texts = [{"text": f"t {i}"} for i in range(20)]
    assert load(tmp_path, pairs).targets.form == "completion"
    assert load(tmp_path, texts).targets.form == "text"
    assert load(tmp_path, numbered()).targets.form == "messages"
    both = [one | two for one, two in zip(pairs, texts, strict=True)]
    with pytest.raises(BadData, match=r"more than one of these; name in dataset.columns those that you mean"):
        load(tmp_path, both)
    assert load(tmp_path, both, {"text": "text"}).targets.form == "text"
    assert load(tmp_path, both, {"prompt": "text"}).splits["train"].columns.keys() == {"prompt"}
    with pytest.raises(
        BadData,
        match=r"takes the columns text; or prompt and completion; .*{prompt: instruction, completion: output}",
    ):
        load(tmp_path, [{"instruction": f"p {i}", "output": "x"} for i in range(20)])
    with pytest.raises(BadData, match=r"no column 'completion'"):
        load(tmp_path, [{"prompt": f"p {i}"} for i in range(20)], {"prompt": "prompt"})


def test_a_spec_that_mixes_columns_is_refused() -> None:
    spec = {"name": "a", "task": "text-generation", "model": "m", "space": {}, "dataset": {"source": "d.csv"}}
    spec["dataset"] = {"source": "d.csv", "columns": {"prompt": "a", "messages": "b"}}
    with pytest.raises(ValueError, match=r"mixes columns that exclude each other.*text; or prompt and completion"):
        parse_spec(json.dumps(spec))
    spec["dataset"] = {"source": "d.csv", "columns": {"prompt": "a"}}
    assert parse_spec(json.dumps(spec)).objective.direction == "minimize"
    with pytest.raises(ValueError, match=r"there are no classes"):
        parse_spec(json.dumps(spec | {"space": {"class_weighting": "balanced"}}))


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_an_empty_text_to_learn_is_refused(tmp_path: Path, empty: str | None) -> None:
    rows = [{"prompt": f"p {i}", "completion": f"c {i}"} for i in range(20)]
    rows[2]["completion"] = empty
    with pytest.raises(BadData, match=r"row 3 .*'completion' is empty; fill it in or remove the row"):
        load(tmp_path, rows)


UNSEEN = ["\u200b", " \u200b\n\ufeff", "\u200d\ufe0f", "\N{HANGUL FILLER}", "\N{BRAILLE PATTERN BLANK}"]


@pytest.mark.parametrize("text", UNSEEN)
def test_a_text_to_learn_in_which_nothing_can_be_seen_is_refused(tmp_path: Path, text: str) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"p {i}", "completion": f"c {i}"} for i in range(20)]
    rows[2]["completion"] = text
    with pytest.raises(BadData, match=r"row 3 .*'completion' holds nothing that can be seen, only '\\u.*remove"):
        load(tmp_path, rows, semantics=4)
    assert len(load(tmp_path, rows, semantics=3).splits["train"]) == 14, "a stored study"
    rows[2]["completion"] = f"{text}c"
    load(tmp_path, rows, semantics=4)


def test_unseen_texts_are_refused_whatever_is_learned(tmp_path: Path) -> None:
    chats = numbered()
    chats[2]["messages"][1]["content"] = "\u200b"
    with pytest.raises(BadData, match=r"row 3 .*'messages' holds nothing that can be seen in message 2, only '\\u200b"):
        load(tmp_path, chats, semantics=4)
    chats[2]["messages"] = json.dumps(chats[2]["messages"])  # as in a csv
    with pytest.raises(BadData, match=r"row 3 .*nothing that can be seen in message 2"):
        load(tmp_path, chats, semantics=4)
    with pytest.raises(BadData, match=r"row 1 .*'text' holds nothing .*\(zero width space\)"):
        load(tmp_path, [{"text": "\u200b" if i == 0 else f"t {i}"} for i in range(20)], semantics=4)
    path = tmp_path / "pairs.jsonl"
    rows = [{"source": f"s {i}", "target": f"t {i}" if i != 4 else "\u2060"} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(BadData, match=r"row 5 .*'target' holds nothing .*\(word joiner\)"):
        load_data(Dataset(source=str(path)), "text2text-generation", TranslationTargets, 0)


def test_texts_that_stand_for_none_are_told_of_completions_too(tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "completion": "NaN" if i == 2 else f"c {i}"} for i in range(20)]
    (finding,) = (found for found in load(tmp_path, rows).findings if found.code == "texts-that-stand-for-none")
    assert "column 'completion' hold" in finding.message
    assert "row 3" in finding.examples[0]


def test_texts_that_teach_nothing_are_told(tmp_path: Path) -> None:
    same = load(tmp_path, [{"prompt": f"p {i}", "completion": "I cannot say."} for i in range(20)])
    assert "14 of 14 training rows have the same text to learn ('I cannot say.')" in same.findings[0].message
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"source": f"s {i}", "target": f"s {i}"}) for i in range(20)))
    copied = load_data(Dataset(source=str(path)), "text2text-generation", TranslationTargets, 0, verify=True)
    assert [finding.code for finding in copied.findings] == ["copied-texts"]


def test_rows_with_the_same_conversation_stay_on_one_side(tmp_path: Path) -> None:
    data = load(tmp_path, [row for row in numbered(10) for _ in range(2)])
    sides = [{json.dumps(read) for read in split.columns["messages"]} for split in data.splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10
