"""Cases whose inputs are texts: MiniLM on what examples/fetch.py brings."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy
import transformers

from cases.case import (
    MODELS,
    Case,
    Features,
    Official,
    Row,
    accuracy,
    features,
    micro_f1,
    multi_hot,
    names_of,
    pearson,
    standard,
    table,
    with_head,
)

LENGTH = 64
PARAMS = {"learning_rate": 3e-4, "batch_size": 16, "epochs": 1, "max_length": LENGTH}
IGNORED = -100
CONTEXT = 800
"""Characters of question, context and answers: with fewer, a context is one row on both sides."""


def minilm(folder: Path) -> Path:
    """Return the folder of MiniLM-L6."""
    return MODELS / "minilm"


def _tokenized(folder: Path, rows: list[Row], *columns: str) -> tuple[Any, dict[str, Any]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [[row[column] for row in rows] for column in columns]
    return tokenizer, dict(tokenizer(*texts, truncation=True, max_length=LENGTH))


def _classified(kind: str, folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_glue.py (one label, or a number for a pair) or run_classification.py (several labels)."""
    rows = training + validation
    columns = ("text", "text_pair") if kind == "number" else ("text",)
    tokenizer, inputs = _tokenized(folder, rows, *columns)
    labels: list[Any]
    if kind == "number":
        numbers = [float(row["label"]) for row in rows]
        labels, head = standard(numbers[: len(training)], numbers), {"num_labels": 1}
    elif kind == "labels":
        names = names_of(rows, "|")
        labels = multi_hot(rows, names)
        head = {"num_labels": len(names), "problem_type": "multi_label_classification"}
    else:
        names = names_of(rows)
        labels, head = [names.index(row["label"]) for row in rows], {"num_labels": len(names)}
    made = features(inputs, labels)
    return Official(
        make=with_head("AutoModelForSequenceClassification", folder, **head),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=transformers.DataCollatorWithPadding(tokenizer),
        processor=tokenizer,
        score={"number": pearson, "labels": micro_f1, "label": accuracy}[kind],
    )


def tagged(rows: int) -> list[Row]:
    """Return encyclopedia sentences whose capitalised words are names; MiniLM reads them without their capitals."""
    found = []
    for row in table("wikitext.jsonl", ["text"])[:rows]:
        tokens = row["text"].split()[:40]
        tags = []
        for i, word in enumerate(tokens):
            is_name = i > 0 and word[0].isupper()
            tags.append(("I-NAME" if tags[-1] != "O" else "B-NAME") if is_name else "O")
        found.append({"tokens": tokens, "ner_tags": tags})
    return found


def _tagged(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_ner.py: the first token of a word has its tag."""
    from seqeval.metrics import f1_score

    rows = training + validation
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = tokenizer([r["tokens"] for r in rows], is_split_into_words=True, truncation=True, max_length=LENGTH)
    names = sorted({tag for row in rows for tag in row["ner_tags"]})
    labels = []
    for i, row in enumerate(rows):
        words = found.word_ids(i)
        firsts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        ids = [names.index(row["ner_tags"][w]) if f else IGNORED for f, w in zip(firsts, words, strict=True)]
        labels.append(ids)
    made = features(dict(found), labels)

    def score(predicted: Any) -> float:
        best, right = predicted[0].argmax(-1), predicted[1]
        pairs = [(b[r != IGNORED], r[r != IGNORED]) for b, r in zip(best, right, strict=True)]
        tags = [[[names[i] for i in ids] for ids in side] for side in zip(*pairs, strict=True)]
        return float(f1_score(tags[1], tags[0]))

    return Official(
        make=with_head("AutoModelForTokenClassification", folder, num_labels=len(names)),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=transformers.DataCollatorForTokenClassification(tokenizer),
        processor=tokenizer,
        score=score,
    )


def questions(rows: int) -> list[Row]:
    """Return questions on Debian's packages, with short contexts."""
    columns = ("question", "context", "answers")
    return table("package_questions/rows.jsonl", columns, CONTEXT)[:rows]


def _answered(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_qa.py with `version_2_with_negative`, for contexts of one row each."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made: Features = []
    for row in training + validation:
        found = tokenizer(row["question"], row["context"], truncation="only_second", max_length=3 * LENGTH)
        places, own = [], found.sequence_ids(0)
        for side, place in zip(own, _offsets(tokenizer, row), strict=True):
            places.append(place if side == 1 else None)
        first = last = 0
        if row["answers"]["text"]:
            begin = row["answers"]["answer_start"][0]
            end = begin + len(row["answers"]["text"][0])
            inside = [i for i, place in enumerate(places) if place and place[0] < end and place[1] > begin]
            whole = inside and places[inside[0]][0] <= begin and places[inside[-1]][1] >= end
            first, last = (inside[0], inside[-1]) if whole else (0, 0)
        made.append(dict(found) | {"start_positions": first, "end_positions": last, "places": places})
    kept = [places for one in made[len(training) :] if (places := one["places"])]
    for one in made:
        del one["places"]
    return Official(
        make=with_head("AutoModelForQuestionAnswering", folder),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=transformers.DataCollatorWithPadding(tokenizer),
        processor=tokenizer,
        score=partial(_best_answers, kept, validation),
    )


def _offsets(tokenizer: Any, row: Row) -> list[tuple[int, int]]:
    cut = {"truncation": "only_second", "max_length": 3 * LENGTH, "return_offsets_mapping": True}
    return list(tokenizer(row["question"], row["context"], **cut)["offset_mapping"])


def _best_answers(kept: list[Any], rows: list[Row], predicted: Any) -> float:
    """Return the F1 of utils_qa.py's post-processing: the 20 best first and last tokens, answers of at most 30."""
    from luthier.trials.tasks.squad import best_scores

    scores = []
    for places, row, start, end in zip(kept, rows, *predicted[0], strict=True):
        best, text = start[0] + end[0], ""
        for i in numpy.argsort(start)[:-21:-1]:
            for j in numpy.argsort(end)[:-21:-1]:
                legal = i <= j < i + 30 and j < len(places) and places[i] and places[j]
                if legal and start[i] + end[j] > best:
                    best, text = start[i] + end[j], row["context"][places[i][0] : places[j][1]]
        scores.append(best_scores(text, row["answers"]["text"])[1])
    return float(numpy.mean(scores))


def _rows(name: str, columns: tuple[str, ...], rows: int) -> list[Row]:
    return table(name, columns)[:rows]


TREC, TAGS, STS = "trec.csv", "package_tags.csv", "sts_scores/train.csv"
CASES = {
    "text-classification": Case(
        "text-classification", "accuracy", partial(_rows, TREC, ("text", "label")), minilm,
        partial(_classified, "label"), ("minilm", "trec"), PARAMS, 64, 48,
    ),
    "text-regression": Case(
        "text-regression", "pearson", partial(_rows, STS, ("text", "text_pair", "label")), minilm,
        partial(_classified, "number"), ("minilm", "sts_scores"), PARAMS, 48, 32,
        further={"columns": {"text_pair": "text_pair"}},
    ),
    "text-multilabel": Case(
        "text-multilabel-classification", "micro_f1", partial(_rows, TAGS, ("text", "label")), minilm,
        partial(_classified, "labels"), ("minilm", "package_tags"), PARAMS | {"learning_rate": 1e-3}, 48, 32,
        further={"label_separator": "|"},
    ),
    "token-classification": Case(
        "token-classification", "entity_f1", tagged, minilm, _tagged, ("minilm", "wikitext"), PARAMS, 32, 24
    ),
    "question-answering": Case(
        "question-answering", "f1", questions, minilm, _answered, ("minilm", "package_questions"),
        PARAMS | {"max_length": 3 * LENGTH}, 32, 32,
    ),
}  # fmt: skip
