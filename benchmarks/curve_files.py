"""The files of recorded curves: one a task, a line an evaluation, with a JSON file beside it that says what was run.

record_curves.py writes them, replay.py reads them.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "curves"
COLUMNS = (
    "configuration",
    "learning_rate",
    "batch_size",
    "epochs",
    "weight_decay",
    "freeze_depth",
    "evaluation",
    "examples",
    "seconds",
    "cached_seconds",
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
)
"""Examples are those trained on so far, seconds are CPU seconds of one thread since the trial's first step."""
Params = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """The evaluations of one configuration, trained to its end.

    Attributes:
        number: The configuration's place in the fixed order; 0 is the task's baseline.
        params: The searched hyperparameters.
        examples: For each evaluation, those trained on so far.
        seconds: For each, the CPU seconds so far without the frozen-prefix cache.
        cached_seconds: For each, the CPU seconds so far with a frozen prefix that is stored already.
        validation: For each, the accuracy on the validation split; None where the loss was not finite any more.
        losses: For each, the loss there.
        test: For each, the accuracy on the test split.
    """

    number: int
    params: Params
    examples: list[int]
    seconds: list[float]
    cached_seconds: list[float]
    validation: list[float | None]
    losses: list[float | None]
    test: list[float | None]

    @property
    def best(self) -> float:
        """The best validation accuracy; 0 where there is none."""
        return max((value for value in self.validation if value is not None), default=0.0)


def path_of(name: str) -> Path:
    """Return the file of a task's curves."""
    return FOLDER / f"{name}.csv.gz"


def lines(curve: Curve) -> Iterator[list[Any]]:
    """Yield a curve's lines in the order of `COLUMNS`."""
    own = [curve.number, *(f"{v:.5g}" if isinstance(v, float) else v for v in curve.params.values())]
    parts = (curve.examples, curve.seconds, curve.cached_seconds, curve.validation, curve.losses, curve.test)
    for step, values in enumerate(zip(*parts, strict=True), 1):
        yield [*own, step, *("" if v is None else f"{v:.5g}" if isinstance(v, float) else v for v in values)]


def write(name: str, curves: list[Curve], about: dict[str, Any]) -> None:
    """Write all curves of a task, and what was run; a reader sees the old file or the new one, whole."""
    FOLDER.mkdir(exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        writer.writerows(lines(curve))
    data = gzip.compress(text.getvalue().encode(), mtime=0)
    described = json.dumps(about | {"configurations": len(curves)}, indent=1) + "\n"
    for path, content in ((path_of(name), data), (FOLDER / f"{name}.json", described.encode())):
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(content)
        partial.replace(path)


def read(name: str) -> list[Curve]:
    """Return a task's curves in their order; none where nothing was recorded."""
    if not path_of(name).exists():
        return []
    curves: dict[int, Curve] = {}
    with gzip.open(path_of(name), "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["configuration"])
            if number not in curves:
                curves[number] = Curve(number, _params(row), [], [], [], [], [], [])
            curve = curves[number]
            curve.examples.append(int(row["examples"]))
            curve.seconds.append(float(row["seconds"]))
            curve.cached_seconds.append(float(row["cached_seconds"]))
            for values, column in (
                (curve.validation, "validation_accuracy"),
                (curve.losses, "validation_loss"),
                (curve.test, "test_accuracy"),
            ):
                values.append(float(row[column]) if row[column] else None)
    return list(curves.values())


def about(name: str) -> dict[str, Any]:
    """Return what was run for a task's curves; empty where nothing was recorded."""
    path = FOLDER / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _params(row: dict[str, str]) -> Params:
    whole = ("batch_size", "epochs", "freeze_depth")
    return {name: int(row[name]) if name in whole else float(row[name]) for name in COLUMNS[1:6]}
