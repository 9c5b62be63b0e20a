"""Small models with random weights learn to write: paragraphs, translations of short sentences, and sounds of words.

    make test-learning

WikiText, Tatoeba and pronunciations come from examples/fetch.py, models and tokenizers from
tests/support/untrained.py.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from tests.support.learned import fetch, learned
from tests.support.paths import ROOT
from tests.support.untrained import continuing, translating

pytestmark = [pytest.mark.learning, pytest.mark.timeout(900)]


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a data set."""
    fetch(name)
    return list(map(json.loads, (ROOT / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()))


def splits(folder: Path, **rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Write the rows of each split, and return the source of a spec."""
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)), encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in rows}


def unigram_loss(training: Iterable[Sequence[int]], test: Iterable[Sequence[int]], words: int) -> float:
    """Return the mean loss of test tokens by the frequency of training's, each counted once more than it is there."""
    counts = Counter(token for ids in training for token in ids)
    total = counts.total() + words
    losses = [math.log(total / (counts[token] + 1)) for ids in test for token in ids]
    return math.fsum(losses) / len(losses)


def test_paragraphs_are_continued(tmp_path: Path) -> None:
    """A GPT-2 learns more than how frequent each token is.

    Measured a perplexity of 91.8 on paragraphs of other articles after 4 epochs on 800 of them, where the frequencies
    of training's tokens give 402.
    """
    every = rows("wikitext")
    test, validation, training = every[:100], every[100:200], every[-800:]
    tokenizer = continuing(tmp_path / "model", (row["text"] for row in training))
    spec = {
        "task": "text-generation",
        "model": str(tmp_path / "model"),
        "dataset": {"source": splits(tmp_path, train=training, validation=validation, test=test)},
        "space": {"learning_rate": 3e-3, "batch_size": 8, "epochs": 4, "max_length": 128},
    }
    best = learned("paragraphs", spec, tmp_path)["best"]
    ids = [tokenizer([row["text"] for row in some], verbose=False)["input_ids"] for some in (training, test)]
    unigram = unigram_loss(*ids, words=len(tokenizer))
    print(f"unigram: {unigram}, perplexity {math.exp(unigram)}")
    assert best["test"]["perplexity"] <= math.exp(unigram) / 3


def test_sentences_are_translated(tmp_path: Path) -> None:
    """A BART learns Spanish's grammar, and little yet of what the English sentence says.

    Measured a loss of 3.45 a token on other sentences after 10 epochs on 2,600 pairs, where the frequencies of
    training's tokens give 5.53. What it writes is no better by chrF (8.3) than the most frequent sentence each time
    (9.6), so only losses are compared; with random weights a translator needs far more pairs and steps.
    """
    every = rows("tatoeba")[::4]
    test, validation, training = every[::15], every[1::15], [row for i, row in enumerate(every) if i % 15 > 1]
    tokenizer = translating(tmp_path / "model", (text for row in training for text in row.values()))
    spec = {
        "task": "text2text-generation",
        "model": str(tmp_path / "model"),
        "dataset": {"source": splits(tmp_path, train=training, validation=validation, test=test)},
        "space": {"learning_rate": 1e-3, "batch_size": 16, "epochs": 10, "max_length": 48},
        "generation": {"max_new_tokens": 24, "num_beams": 1, "rows": 50},
    }
    best = learned("sentences", spec, tmp_path)["best"]
    wanted = [[row["target"] for row in some] for some in (training, test)]
    unigram = unigram_loss(*(tokenizer(texts)["input_ids"] for texts in wanted), words=len(tokenizer))
    print(f"unigram: {unigram}")
    assert best["test"]["loss"] <= unigram - 1.5


def test_words_are_pronounced(tmp_path: Path) -> None:
    """A BART writes the sounds of words that it has not seen, far better than two answers that need no model.

    Measured a chrF of 70.9 after 12 epochs on 8,400 words in 170 s of CPU, and 53% of the words right to their last
    sound; the best word for all has a chrF of 13.1, each word's own letters in capitals 18.9.
    """
    every = rows("pronunciations")[:9_000]
    test, validation, training = every[:300], every[300:600], every[600:]
    translating(tmp_path / "model", (text for row in training for text in row.values()), words=400)
    spec = {
        "task": "text2text-generation",
        "model": str(tmp_path / "model"),
        "dataset": {"source": splits(tmp_path, train=training, validation=validation, test=test)},
        "space": {"learning_rate": 1e-3, "batch_size": 32, "epochs": 12, "max_length": 32},
        "generation": {"max_new_tokens": 24, "num_beams": 1},
    }
    best = learned("pronunciations", spec, tmp_path)["best"]["test"]
    right = [row["target"] for row in test]
    constant = max(chrf([row["target"]] * len(test), right) for row in training[:300])
    copied = chrf([row["source"].upper() for row in test], right)
    print(f"chrF of the best constant {constant:.1f}, of the letters {copied:.1f}")
    assert best["chrf"] >= max(constant, copied) + 35
    assert best["exact_match"] >= 0.3


def chrf(said: Sequence[str], right: Sequence[str]) -> float:
    """Return chrF, 0 to 100, by sacrebleu."""
    return float(sacrebleu.corpus_chrf(said, [right]).score)
