"""The four tasks whose learning curves are recorded: their models, rows, and the search space that they share.

record_curves.py prepares and trains them, replay.py searches their space. Rows are drawn once from a fixed seed. Test
rows stand behind the validation rows in one file, so that an evaluation scores both.
"""

import csv
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import fetch  # noqa: E402

SIDE = 64
"""Pixels of an image's sides, in place of the model's 96: a step costs half."""
BATCH_SIZES = (8, 16, 32, 64)
NAMES = ("learning_rate", "batch_size", "epochs", "weight_decay", "freeze_depth")
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 3e-3, "log": True},
    "batch_size": list(BATCH_SIZES),
    "epochs": {"low": 1, "high": 6},
    "weight_decay": {"low": 0.0, "high": 0.3},
    "freeze_depth": {"low": 0, "high": "auto"},
}


@dataclass(frozen=True)
class CurveTask:
    """A task of which curves are recorded.

    Attributes:
        name: Of its files.
        task: Luthier's task.
        column: Of the inputs.
        rows: Those of the data set, as (input, label).
        model: Makes the model's folder; its argument is a folder for it.
        sizes: Rows that are trained on, validated on, and tested on.
        evaluations_per_epoch: Equal parts of an epoch, with an evaluation after each.
        max_length: Tokens of a text; None: inputs are no texts.
        about: Model and data in words, for the record.
    """

    name: str
    task: str
    column: str
    rows: Callable[[], list[tuple[str, str]]]
    model: Callable[[Path], Path]
    sizes: tuple[int, int, int]
    evaluations_per_epoch: int
    max_length: int | None
    about: str

    @property
    def fixed(self) -> dict[str, Any]:
        """The hyperparameters that are not searched, where they are not the defaults."""
        return {} if self.max_length is None else {"max_length": self.max_length}

    def files(self, folder: Path) -> dict[str, str]:
        """Write the rows to train on, and behind them those to evaluate on; return the files by split."""
        rows = self.rows()
        random.Random(0).shuffle(rows)  # noqa: S311 - reproducible, not secret
        first = {label: row for row in reversed(rows) for label in [row[1]]}
        rows.sort(key=lambda row: first[row[1]] != row)  # each label's first row is trained on
        training, validation, test = self.sizes
        parts = {"train": rows[:training], "validation": rows[training : training + validation + test]}
        assert len(rows) >= sum(self.sizes), f"{self.name} has {len(rows)} rows."
        for name, part in parts.items():
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([(self.column, "label"), *part])
        return {name: str(folder / f"{name}.csv") for name in parts}

    def spec(self, folder: Path) -> dict[str, Any]:
        """Return the spec of a study of the task's space, with its files in a folder."""
        return {
            "name": self.name.replace("_", "-"),
            "task": self.task,
            "model": str(self.model(folder)),
            "dataset": {"source": self.files(folder), "validation": "validation", "test": 0},
            "space": SPACE | self.fixed,
            "precision": "bfloat16",
            "evaluations_per_epoch": self.evaluations_per_epoch,
        }


def _table(path: Path, column: str) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[column], row["label"]) for row in csv.DictReader(file)]


def _photographs() -> list[tuple[str, str]]:
    return [(str(path), path.parent.name) for path in sorted(fetch.cifar10().glob("*/*.png"))]


def _minilm(folder: Path) -> Path:
    return fetch.minilm().resolve()


def _whisper(folder: Path) -> Path:
    return fetch.whisper_encoder().resolve()


def _mobilenet(folder: Path) -> Path:
    """Return a copy of MobileNetV2 that sees images of 64 pixels."""
    target = folder / "mobilenet_v2"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(fetch.mobilenet_v2().resolve(), target)
    about = target / "preprocessor_config.json"
    processor = json.loads(about.read_text())
    processor |= {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    about.write_text(json.dumps(processor))
    return target


CURVE_TASKS = {
    task.name: task
    for task in (
        CurveTask(
            "trec", "text-classification", "text", lambda: _table(fetch.trec(), "text"), _minilm, (240, 200, 300), 1,
            24, "MiniLM-L6 on TREC questions of at most 24 tokens, 6 classes",
        ),
        CurveTask(
            "rotten_tomatoes", "text-classification", "text", lambda: _table(fetch.rotten_tomatoes(), "text"), _minilm,
            (240, 200, 300), 1, 24, "MiniLM-L6 on Rotten Tomatoes sentences of at most 24 tokens, 2 classes",
        ),
        CurveTask(
            "cifar10", "image-classification", "image", _photographs, _mobilenet, (240, 200, 300), 1, None,
            "MobileNetV2 on CIFAR-10 photographs at 64 pixels, 10 classes",
        ),
        CurveTask(
            "drums", "audio-classification", "audio", lambda: _table(fetch.drums(), "audio"), _whisper, (140, 140, 148),
            1, None, "a Whisper encoder of 4 layers on sounds of drums, 7 classes",
        ),
    )
}  # fmt: skip
