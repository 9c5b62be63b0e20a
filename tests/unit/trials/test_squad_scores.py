"""Exact match and F1 equal those of the official SQuAD scripts, which are copied here."""

import collections
import random
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from luthier.trials.tasks.squad import best_scores

WORDS = (
    *("the", "a", "an", "The", "An", "Rome", "rome", "ROME", "Rome.", "1,000", "1000", "theatre", "a-b", "x", "y", "z"),
    *("«Rom»", "Zürich", "zürich", "it's", "its", "--", "!", "\u00a0", "naïve", "東京", "I.B.M.", "ibm"),
)


# From the official evaluation script of SQuAD 2.0 (evaluate-v2.0.py), as it is.
def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text: str) -> str:
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def get_tokens(s: str) -> list[str]:
    if not s:
        return []
    return normalize_answer(s).split()


def compute_exact(a_gold: str, a_pred: str) -> int:
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks = get_tokens(a_gold)
    pred_toks = get_tokens(a_pred)
    common: Any = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def raw_scores(gold_answers: Sequence[str], a_pred: str) -> tuple[float, float]:
    gold_answers = [a for a in gold_answers if normalize_answer(a)]
    if not gold_answers:
        gold_answers = [""]
    return max(compute_exact(a, a_pred) for a in gold_answers), max(compute_f1(a, a_pred) for a in gold_answers)


# From the official evaluation script of SQuAD 1.1 (evaluate-v1.1.py), as it is.
def f1_score(prediction: str, ground_truth: str) -> float:
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common: Any = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def exact_match_score(prediction: str, ground_truth: str) -> bool:
    return normalize_answer(prediction) == normalize_answer(ground_truth)


def metric_max_over_ground_truths(
    metric_fn: Callable[[str, str], float], prediction: str, ground_truths: Sequence[str]
) -> float:
    return max(metric_fn(prediction, ground_truth) for ground_truth in ground_truths)


def _phrase(draw: random.Random, least: int = 0) -> str:
    return draw.choice((" ", "  ", " \n")).join(draw.choices(WORDS, k=draw.randint(least, 6)))


def test_they_are_those_of_the_official_script_for_squad_2() -> None:
    draw = random.Random(1)
    values = set()
    for _ in range(5_000):
        right, said = [_phrase(draw) for _ in range(draw.randint(0, 4))], _phrase(draw)
        expected = raw_scores(right, said)
        assert best_scores(said, right) == pytest.approx(expected, abs=1e-9)
        values.add(expected)
    assert len(values) > 20


def test_they_are_those_of_the_official_script_for_squad_1() -> None:
    draw = random.Random(2)
    for _ in range(5_000):
        phrases = [_phrase(draw, least=1) for _ in range(draw.randint(1, 4))]
        right = [phrase for phrase in phrases if normalize_answer(phrase)]
        said = _phrase(draw, least=1)
        if not right or not normalize_answer(said):
            continue  # 1.1 knows no empty answers
        expected = [float(metric_max_over_ground_truths(score, said, right)) for score in (exact_match_score, f1_score)]
        assert best_scores(said, right) == pytest.approx(expected, abs=1e-9)
