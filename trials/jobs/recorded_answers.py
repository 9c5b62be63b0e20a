"""Answers of the model in memory to some examples, recorded to be compared with those of the packed model.

`evaluate` records them before it packs the model; `reload` compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from PIL import Image

from luthier.trials.data.splits import Split
from luthier.trials.jobs.exact import answers_alone
from luthier.trials.session import Session
from luthier.trials.tasks.usage import Usage, Value
from luthier.trials.training.generation import Writing
from luthier.trials.training.open_study import OpenStudy

EXAMPLES = 64
"""The most examples that are tried."""
MOST_BYTES = 256 * 2**20
"""Of images and sounds that are given to the fresh process; at least one example is."""
TOLERANCE = {"cpu": 1e-4, "cuda": 1e-3}
"""How far a probability may be from the recorded one, by the device of the model in memory; both are float32. Values
above 1, which are no probabilities, may be off by this share of them. Small models come to 1e-7 on the CPU; large ones
add in another order where the number of threads differs."""


@dataclass(frozen=True)
class Recorded:
    """Predictions of the model in memory.

    Attributes:
        usage: How the packed model is used.
        split: The name of the examples' split.
        examples: As users give them to the packed model.
        answers: Of each example, for each of its units, the values that `Usage.names` names; None: not compared.
        tolerance: How far the answers of the packed model may be from them.
    """

    usage: Usage
    split: str
    examples: list[Any]
    answers: list[list[Sequence[Value | None]]]
    tolerance: float


def record(
    study: OpenStudy, usage: Usage, max_length: int, session: Session, writing: Writing | None = None
) -> Recorded:
    """Return the answers of the study's model, as it is in memory, to some examples, each computed alone in float32.

    Args:
        study: The model, which is the one that was packed, and its data.
        usage: How the packed model is used.
        max_length: The configuration's.
        session: Polled before each example.
        writing: How the model writes texts; None: it writes none.

    Raises:
        BadData: An example cannot be read.
        Ended: The assignment is to end now.
    """
    name = "test" if "test" in study.data.splits else "validation"
    split = study.data.splits[name]
    rows, given = _chosen(study, split, max_length)
    encoded = study.task.encode_exactly(study.pretrained, split.take(rows), max_length)
    answers = answers_alone(study.pretrained.model, study.task, encoded, session.poll, writing)
    return Recorded(usage, name, given, answers, TOLERANCE[study.pretrained.model.device.type])


def _chosen(study: OpenStudy, split: Split, max_length: int) -> tuple[list[int], list[Any]]:
    """Return numbers of examples spread over a split, and the examples as users give them; few where they are large."""
    rows = spread_rows(split, EXAMPLES)
    given: list[Any] = []
    size = 0
    for row in rows:
        example = study.task.given(study.pretrained, split, row, max_length)
        if isinstance(example, Image.Image):
            example = numpy.asarray(example)
        size += example.nbytes if isinstance(example, numpy.ndarray) else 0
        if size > MOST_BYTES and given:
            break
        given.append(example)
    return rows[: len(given)], given


def spread_rows(split: Split, most: int) -> list[int]:
    """Return at most so many numbers of examples, spread over a split; the longest one is the first."""
    count = min(most, len(split))
    rows = [i * len(split) // count for i in range(count)]
    longest = max(range(len(split)), key=lambda i: _length(split, i))  # the end of a text is where things break
    return [longest, *(row for row in rows if row != longest)][:count]


def _length(split: Split, row: int) -> int:
    """Return the letters or words of an example; 0 of a file."""
    values = (column[row] for column in split.columns.values())
    return sum(len(value) for value in values if isinstance(value, str | list))
