"""Metrics of written texts equal those of sacrebleu and rouge-score."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from luthier.trials.tasks.text_metrics import text_scores, text_statistics

WORDS = [
    "the",
    "cat",
    "Sat",
    "on",
    "mat.",
    "3,000.5",
    "it's",
    "&quot;no&quot;",
    "a-b",
    "10-12",
    "élan",
    "日本",
    "-\n",
    "(x)",
]


def texts(seed: int, count: int) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    right = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(count)]
    said = [" ".join(word if draw.random() < 0.7 else draw.choice(WORDS) for word in text.split(" ")) for text in right]
    said[::5] = ["" if draw.random() < 0.3 else text[: len(text) // 2] for text in said[::5]]
    return said, right


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 3, 40])
def test_scores_equal_the_libraries(seed: int, count: int) -> None:
    said, right = texts(seed, count)
    found = text_scores(text_statistics(said, right))
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(said, [right]).score, abs=1e-9)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(said, [right]).score, abs=1e-9)
    scorer = RougeScorer(["rougeL"])
    mean = sum(scorer.score(wanted, text)["rougeL"].fmeasure for text, wanted in zip(said, right, strict=True)) / count
    assert found["rouge_l"] == pytest.approx(mean, abs=1e-9)


def test_texts_that_were_not_written_count_nothing() -> None:
    said, right = texts(0, 9)
    whole = text_statistics([*said, None], [*right, "a text"])
    assert all(not values[-1].any() for values in whole.values())
