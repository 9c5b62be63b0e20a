"""The configurations, splits and measurements that both sides of vs_trainer.py share."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

DEPTH = 6
"""Blocks of MiniLM-L6."""
MAX_LENGTH = 128
"""Tokens."""
FIXED = {"optimizer": "adamw", "scheduler": "linear", "warmup_ratio": 0.1, "max_grad_norm": 1.0}
NAMES = ("learning_rate", "batch_size", "epochs", "weight_decay", "freeze_depth")

# One configuration a freeze depth, from none to all, in an order of no advantage to either side. The first is
# Luthier's baseline, which is always its trial 0. The last repeats the deepest freeze with other values: it finds
# the cache built, counts for `deepest_wall_ratio`, and belongs to no other ratio.
CONFIGURATIONS: tuple[dict[str, Any], ...] = tuple(
    dict(zip(NAMES, values, strict=True))
    for values in (
        (5e-5, 32, 3, 0.01, 0),
        (3e-4, 16, 2, 0.10, 4),
        (1e-4, 16, 2, 0.00, 2),
        (1e-3, 16, 2, 0.05, 6),
        (2e-4, 8, 1, 0.10, 1),
        (3e-4, 8, 2, 0.02, 5),
        (2e-4, 32, 3, 0.20, 3),
        (5e-4, 8, 3, 0.30, 6),
    )
)
MIX = CONFIGURATIONS[:-1]


def write_splits(source: Path, folder: Path, train_rows: int, validation_rows: int, seed: int) -> None:
    """Write a seeded sample of a data set as train.csv and validation.csv.

    Args:
        source: A CSV file with the columns text and label.
        folder: Where the two files go; it is created.
        train_rows: Rows of train.csv. Each label occurs among them at least once.
        validation_rows: Rows of validation.csv.
        seed: Decides which rows.
    """
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(seed).shuffle(rows)  # noqa: S311 - reproducible, not secret
    first = {row["label"]: row for row in reversed(rows)}
    rows.sort(key=lambda row: first[row["label"]] is not row)  # each label's first row comes first
    parts = {"train": rows[:train_rows], "validation": rows[train_rows : train_rows + validation_rows]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ("text", "label"), lineterminator="\n")
            writer.writeheader()
            writer.writerows(part)


def family(pid: int | None = None) -> list[psutil.Process]:
    """Return a process (default: this one) and all processes below it that still run."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds() -> float:
    """Return the CPU time, in seconds, of this process and of all processes below it, ended ones included."""
    total = 0.0
    for process in family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and of all processes below it; shared pages count once for each."""
    total = 0
    for process in family(pid):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def trial(params: dict[str, Any], seconds: float, scores: Sequence[float]) -> dict[str, Any]:
    """Return a trial as both sides report it.

    Args:
        params: Its configuration.
        seconds: From its start to its end.
        scores: Validation accuracy after each epoch.
    """
    return {"params": params, "seconds": seconds, "scores": list(scores)}
