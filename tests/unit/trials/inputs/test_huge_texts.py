"""Huge texts and many texts: the same tokens as in one call for all, in bounded memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from luthier.trials.tasks import token_rows
from luthier.trials.tasks.encoded_sentences import _windows
from luthier.trials.tasks.text_inputs import _tokenized
from luthier.trials.tasks.token_rows import beginnings
from tests.support.tiny import tiny_bpe, tiny_rows, tiny_sentences, tiny_tokenizer

LONG = " ".join(text for text, _ in tiny_rows(240))
TEXTS = {
    "words": LONG,
    "one word": "haunted" * 1300,
    "blanks": f"so{' ' * 9000}lovely",
    "lines": LONG.replace(" ", "\n\n"),
    "beyond ASCII": "\u00e9\u4e2d\u6587 \u0301" * 1800,
    "short": "so lovely",
    "nothing that is known": "\u200b",
}


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "left"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_bpe(folder) if request.param == "bpe" else tiny_tokenizer(folder)
    side = "left" if request.param == "left" else "right"
    return AutoTokenizer.from_pretrained(folder, truncation_side=side)


def lists(columns: dict[str, Any]) -> dict[str, list[list[int]]]:
    return {name: [list(row) for row in rows] for name, rows in columns.items()}


@pytest.mark.parametrize("longest", [5, 64])
def test_texts_have_the_tokens_of_one_call(tokenizer: Any, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rows, "BATCH_ROWS", 2)
    monkeypatch.setattr(token_rows, "LONG", 2)
    texts = list(TEXTS.values())
    whole = tokenizer(texts, truncation=True, max_length=longest)
    found = _tokenized(tokenizer, [texts], longest)
    assert lists(found) == {name: whole[name] for name in tokenizer.model_input_names}


@pytest.mark.full
def test_pairs_have_the_tokens_of_one_call(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rows, "BATCH_ROWS", 2)
    monkeypatch.setattr(token_rows, "LONG", 2)
    texts = [TEXTS[name] for name in ("words", "one word", "blanks", "short")]
    pairs = [[text for text in texts for _ in texts], texts * len(texts)]
    whole = tokenizer(*pairs, truncation=True, max_length=127)
    found = _tokenized(tokenizer, pairs, 127)
    assert lists(found) == {name: whole[name] for name in tokenizer.model_input_names}


def test_sentences_have_the_windows_of_one_call(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = [words for words, _ in tiny_sentences(40)]
    sentences[3] = [word for words in sentences for word in words]  # several windows
    whole = _windows(tokenizer, sentences, 12)
    monkeypatch.setattr(token_rows, "BATCH_ROWS", 3)
    assert _windows(tokenizer, sentences, 12) == whole
    made = tokenizer(
        sentences, is_split_into_words=True, truncation=True, max_length=12, return_overflowing_tokens=True
    )
    assert lists(whole[0]) == {name: made[name] for name in tokenizer.model_input_names}
    assert whole[1] == made["overflow_to_sample_mapping"]


def test_only_the_beginnings_of_long_texts_are_tokenized(tokenizer: Any) -> None:
    tried = token_rows.LONG * 64 + 8 * token_rows.MARGIN  # characters
    long, longer = LONG * 20, LONG * 40
    if tokenizer.truncation_side == "left":
        assert beginnings(tokenizer, [long], 64) == [long]
        return
    assert list(map(len, beginnings(tokenizer, [long], 64))) == [tried]
    assert beginnings(tokenizer, ["so lovely"], 64) == ["so lovely"]
    for pair in ([long, longer], [longer, long], ["so lovely", long]):
        found = beginnings(tokenizer, pair, 64)
        assert all(len(start) <= 4 * tried and text.startswith(start) for start, text in zip(found, pair, strict=True))
        assert (len(found[0]) < len(found[1])) == (len(pair[0]) < len(pair[1])), "the longer one stays the longer one"


def test_rows_are_kept_in_few_bytes(tokenizer: Any) -> None:
    texts = [text for text, _ in tiny_rows(4000)]
    tracemalloc.start()
    columns = _tokenized(tokenizer, [texts], 64)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(texts) < 300, "over a thousand as lists"
    assert len({id(row) for row in columns["attention_mask"]}) < 64, "equal masks are one object"


def test_what_is_no_number_stays_as_it_is() -> None:
    rows = token_rows.TokenRows(["input_ids", "boxes"])
    rows.add({"input_ids": [[1, None], [2**40]], "boxes": [[[1, 2]]], "other": [[1]]})
    assert rows.columns == {"input_ids": [[1, None], [2**40]], "boxes": [[[1, 2]]]}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_cell_of_20_mb_is_read_in_a_few_times_its_size(ending: str, tmp_path: Path) -> None:
    import json

    from tests.unit.trials.inputs.media_trees import load

    rows = [*tiny_rows(60), ("lorem ipsum dolor " * 1_111_111, "joy")]
    path = tmp_path / f"d.{ending}"
    if ending == "json":
        path.write_text(json.dumps([{"text": text, "label": label} for text, label in rows]))
    else:
        path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    tracemalloc.start()
    data = load(path, "text-classification", verify=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(data.rows.values()) == 61
    assert peak < 12 * path.stat().st_size
