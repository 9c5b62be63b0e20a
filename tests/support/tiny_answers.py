"""Tiny architectures and data for tasks whose answers are numbers or several labels.

The data are those of `tests.support.tiny`, with the kind of an example as its number, or as its labels.
"""

import csv
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.support.architecture import Architecture
from tests.support.tiny import FILLERS, LABELS, SIGNALS, tiny_image, tiny_rows, tiny_sound

Write = Callable[[Path, int, int], Path]
OF = {  # task -> the architectures that it is tested with
    "text-regression": ("bert", "llama"),
    "image-regression": ("vit", "resnet"),
    "audio-regression": ("wav2vec2", "whisper"),
    "text-multilabel-classification": ("bert", "llama"),
    "image-multilabel-classification": ("vit", "resnet"),
    "audio-multilabel-classification": ("wav2vec2", "whisper"),
}
ENDINGS = {task: "-numbers" if task.endswith("regression") else "-labels" for task in OF}
FIRST = frozenset(names[0] + ENDINGS[task] for task, names in OF.items())
"""The architectures that `make test-all` tries."""


def architectures(known: Mapping[str, Architecture]) -> dict[str, Architecture]:
    """Return the architectures of these tasks, those of classification with another head."""
    return {name + ENDINGS[task]: replace(known[name], task=task) for task, names in OF.items() for name in names}


def tiny_numbers(rows: int, seed: int = 0) -> list[tuple[str, float]]:
    """Return sentences with a number of 40 to 52: 40 or 50 for their kind, and up to 2 for their length."""
    return [(text, 40.0 + 10 * (label == LABELS[0]) + len(text) / 50) for text, label in tiny_rows(rows, seed=seed)]


def tiny_label_sets(rows: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Return sentences of six words in any order, of which one tells each of the sentence's labels, none to three."""
    draw = random.Random(seed)
    made = []
    for i in range(rows):
        labels = [label for bit, label in enumerate(LABELS) if (i % 8) >> bit & 1]
        words = [draw.choice(SIGNALS[LABELS.index(label)]) for label in labels]
        words += draw.choices(FILLERS, k=6 - len(words))
        draw.shuffle(words)
        made.append((" ".join(words), labels))
    return made


def tiny_scores(folder: Path, rows: int) -> Path:
    """Write `tiny_numbers` as data.csv."""
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *tiny_numbers(rows)])
    return folder / "data.csv"


def tiny_sets(folder: Path, rows: int) -> Path:
    """Write `tiny_label_sets` as data.jsonl."""
    lines = [json.dumps({"text": text, "label": labels}) for text, labels in tiny_label_sets(rows)]
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def _file_numbers(kind: str, write: Write, folder: Path, rows: int) -> Path:
    """Write images or sounds whose number is 20, or -4 for the second kind, and a little for the row's place."""
    lines = [(write(folder, i, i % 2).name, 20 - 24 * (i % 2) + i % 5 / 10) for i in range(rows)]
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(kind, "label"), *lines])
    return folder / "data.csv"


def _file_sets(kind: str, write: Write, folder: Path, rows: int) -> Path:
    """Write images or sounds, each of which has the label of its kind and every third one more, or those of neither."""
    with (folder / "data.jsonl").open("w", encoding="utf-8") as file:
        for i in range(rows):
            labels = [LABELS[i % 2], *([LABELS[2]] if i % 3 == 0 else [])] if i % 7 else []
            file.write(json.dumps({kind: write(folder, i, i % 2).name, "label": labels}) + "\n")
    return folder / "data.jsonl"


DATA: dict[str, Callable[[Path, int], Path]] = {
    "text-regression": tiny_scores,
    "image-regression": partial(_file_numbers, "image", tiny_image),
    "audio-regression": partial(_file_numbers, "audio", tiny_sound),
    "text-multilabel-classification": tiny_sets,
    "image-multilabel-classification": partial(_file_sets, "image", tiny_image),
    "audio-multilabel-classification": partial(_file_sets, "audio", tiny_sound),
}
