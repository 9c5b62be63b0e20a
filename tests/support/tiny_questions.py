"""Questions on tiny texts, as SQuAD's JSON, and the architectures that answer them.

A context holds one word of joy, which is the answer with the adverb before it, or words of anger only, and then there
is no answer. Every sixth context is longer than the tiny models' inputs.
"""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers as hf

from tests.support.architecture import BPE, TEXT, Architecture
from tests.support.tiny import tiny_bpe, tiny_tokenizer

JOY, ANGER = ("lovely", "great", "superb", "happy"), ("awful", "terrible", "rude", "broken")
_ADVERBS = ("very", "quite", "rather")
_FILLERS = ("the", "a", "this", "that", "film", "story", "meal", "room", "day", "was", "is", "seems", "felt", "and")
_QUESTIONS = ("that day", "this story felt", "the meal was", "a room is")


def tiny_questions(rows: int = 240, seed: int = 0, answered: bool = False) -> list[dict[str, Any]]:
    """Return questions with context and answers, as the hub's version of SQuAD has them.

    Args:
        rows: How many.
        seed: Another seed gives other texts.
        answered: Each question has an answer; otherwise every third has none.
    """
    draw = random.Random(seed)
    found = []
    for i in range(rows):
        words = draw.choices(_FILLERS, k=draw.randint(70, 90) if i % 6 == 0 else draw.randint(4, 14))
        words.insert(draw.randint(0, len(words)), draw.choice(ANGER))
        answers: dict[str, list[Any]] = {"text": [], "answer_start": []}
        if answered or i % 3 != 1:
            answer = " ".join([*draw.choices(_ADVERBS, k=i % 2), draw.choice(JOY)])
            place = draw.randint(0, len(words))
            start = len(" ".join([*words[:place], ""]))
            words.insert(place, answer)
            answers = {"text": [answer], "answer_start": [start]}
        found.append(
            {"id": f"q{i}", "question": draw.choice(_QUESTIONS), "context": " ".join(words), "answers": answers}
        )
    return found


def as_squad(questions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return questions in SQuAD's own form, four paragraphs an article."""
    paragraphs = []
    for question in questions:
        pairs = zip(*question["answers"].values(), strict=True)
        asked = {
            "id": question["id"],
            "question": question["question"],
            "answers": [{"text": text, "answer_start": start} for text, start in pairs],
            "is_impossible": not question["answers"]["text"],
        }
        paragraphs.append({"context": question["context"], "qas": [asked]})
    articles = [{"title": f"t{i}", "paragraphs": paragraphs[i : i + 4]} for i in range(0, len(paragraphs), 4)]
    return {"version": "v2.0", "data": articles}


def write_questions(folder: Path, rows: int) -> Path:
    """Write questions as SQuAD's JSON into a folder, and return the file."""
    (folder / "data.json").write_text(json.dumps(as_squad(tiny_questions(rows))))
    return folder / "data.json"


_BERT = Architecture("question-answering", 3, lambda: hf.BertConfig(**TEXT), tiny_tokenizer)
ARCHITECTURES = {
    "bert-questions": _BERT,
    "roberta-questions": replace(
        _BERT,
        config=lambda: hf.RobertaConfig(
            **BPE | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}
        ),
        processor=tiny_bpe,
    ),
    "distilbert-questions": replace(
        _BERT,
        config=lambda: hf.DistilBertConfig(
            dim=32, n_heads=2, n_layers=3, hidden_dim=64, vocab_size=128, max_position_embeddings=64
        ),
    ),
    "electra-questions": replace(_BERT, config=lambda: hf.ElectraConfig(**TEXT, embedding_size=16)),
    "deberta-v2-questions": replace(
        _BERT,
        config=lambda: hf.DebertaV2Config(
            **TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=16
        ),
    ),
    "modernbert-questions": replace(
        _BERT,
        config=lambda: hf.ModernBertConfig(**TEXT, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
    ),
}
