"""Whether a packed model gives the recorded predictions to a fresh process that loads it, as its users will.

`evaluate` checks each model that it has packed, before anybody gets it. The answers of the model in memory to some
examples are recorded; the archive is unpacked; and a new process, with which nothing is shared but the archive and the
examples, uses the model as its card says. Examples travel as JSON and safetensors.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from PIL import Image
from safetensors.numpy import save_file

from luthier.studies.archives import ArchiveError, unpack_archive
from luthier.trials.data.splits import Split
from luthier.trials.errors import NotReproduced
from luthier.trials.jobs.exact import answers_alone
from luthier.trials.jobs.fresh import ANSWERS, ARRAYS, MODEL, REQUEST
from luthier.trials.session import Session
from luthier.trials.tasks.usage import Usage, Value, Values, reference
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
TEXTS_APART = 0.05
"""Share of the examples whose texts may differ. Where two next tokens are equally likely, rounding decides which one is
written, and all that follows; the numbers of such an example, its loss among them, must be the recorded ones still."""
LONGEST_SECONDS = 1800.0
"""For loading and answers; then the process is ended, and the check fails."""
POLL_SECONDS = 0.1
LOG = "log.txt"
LOG_CHARACTERS = 10_000  # of what the process printed, in the log of the evaluation that fails
COMMAND = (sys.executable, "-P", "-m", "luthier.trials.jobs.fresh")  # -P: no files of the working directory
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
CURE = "Resume the study to measure and pack the winner again; its weights are kept."


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


def check(archive: Path, recorded: Recorded, work: Path, session: Session) -> None:
    """Check that a fresh process gets the recorded predictions from a packed model.

    Args:
        archive: The packed model.
        recorded: Predictions of the model in memory.
        work: An empty folder, for the unpacked model and the messages.
        session: Polled while the process runs; its log says what was compared.

    Raises:
        NotReproduced: It does not; the sentence says what differs.
        Ended: The assignment is to end now.
        OSError: The disk is full.
    """
    try:
        unpack_archive(archive, work / MODEL)
    except ArchiveError as error:
        raise _failed(f"its archive is damaged: {str(error).rstrip('.')}") from None
    if adapters := sorted(file.name for file in (work / MODEL).glob("adapter_*")):
        raise _failed(f"{' and '.join(adapters)} lie beside its weights, and transformers would put the adapter in")
    _write_request(recorded, work)
    problem = _run(work, session)
    found: dict[str, Any] = {"error": problem}
    if problem is None:
        found = json.loads((work / ANSWERS).read_text(encoding="utf-8"))
    if "error" in found:
        if printed := (work / LOG).read_text(encoding="utf-8", errors="replace").strip():
            session.log(printed[-LOG_CHARACTERS:])
        raise _failed(f"a fresh process cannot use it: {found['error'].rstrip('.')}")
    try:
        furthest = _compare(recorded, found["answers"])
    except NotReproduced:
        if found["lacks"] is None:
            raise
        raise _failed(f"not whole: {found['lacks']}") from None
    session.log(
        f"packed, and loaded again in a fresh process: its predictions for {len(found['answers'])} {recorded.split} "
        f"rows are the recorded ones (to {furthest:.1e}; {recorded.tolerance:.0e} is allowed)"
    )


def _write_request(recorded: Recorded, work: Path) -> None:
    usage, examples = recorded.usage, recorded.examples
    arrays = {str(i): numpy.ascontiguousarray(x) for i, x in enumerate(examples) if isinstance(x, numpy.ndarray)}
    if arrays:
        save_file(arrays, work / ARRAYS)
    request = {
        "auto": usage.auto,
        "tag": usage.tag,
        "kind": usage.kind,
        "function": reference(usage.function),
        "options": dict(usage.options),
        "examples": [None if str(i) in arrays else example for i, example in enumerate(examples)],
    }
    (work / REQUEST).write_text(json.dumps(request), encoding="utf-8")


def _run(work: Path, session: Session) -> str | None:
    """Run the fresh process to its end; return why it gave no answers, as the end of a sentence, or None."""
    with (work / LOG).open("wb") as output, _process(work, output) as process:
        until = time.monotonic() + LONGEST_SECONDS
        while True:
            session.poll()
            try:
                code = process.wait(POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > until:
                    return f"it gave no answer within {LONGEST_SECONDS:.0f} s"
    if code >= 0:
        return None if code == 0 else f"it exited with code {code}"
    killed = "; the machine may have run out of memory" if -code == signal.SIGKILL else ""
    return f"it was ended by signal {-code}{killed}"


@contextlib.contextmanager
def _process(work: Path, output: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the fresh process in this one's group, with which it is killed; it has ended when the context does.

    Its standard input is a pipe that only this process holds: it closes, and the process ends, however this one ends.
    """
    command = [*COMMAND, str(work)]
    environment = os.environ | OFFLINE
    process = subprocess.Popen(  # noqa: S603 - a fixed command
        command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _compare(recorded: Recorded, found: Sequence[Sequence[Values]]) -> float:
    """Return the largest difference. Raises NotReproduced where it is too large, or labels or units differ."""
    names = recorded.usage.names
    furthest = 0.0
    apart: list[str] = []  # of texts, what differs
    for i, (units, expected) in enumerate(zip(found, recorded.answers, strict=False)):
        place = f"{i + 1} of the {len(found)} {recorded.split} rows that were tried"
        if len(units) != len(expected):
            what = f"it gives {len(units)} answers to number {place} instead of {len(expected)}"
            raise _failed(f"the fresh process reads otherwise: {what}")
        for unit, values in zip(units, expected, strict=True):
            if set(unit) != set(names):
                what = f"{', '.join(map(repr, sorted(unit)[:5]))} instead of {', '.join(map(repr, sorted(names)[:5]))}"
                raise _failed(f"its labels are others: {what}")
            for name, value in zip(names, values, strict=True):
                difference = _difference(unit[name], value)
                if difference > recorded.tolerance:
                    what = f"{name!r} has {_shown(unit[name])} instead of {_shown(value)} for number {place}"
                    if isinstance(value, str) and isinstance(unit[name], str):
                        apart.append(what)
                        continue
                    raise _failed(f"a fresh process predicts otherwise: {what}")
                furthest = max(furthest, difference)
    if len(apart) > TEXTS_APART * len(found):
        raise _failed(f"a fresh process predicts otherwise: {apart[0]}")
    return furthest


def _failed(what: str) -> NotReproduced:
    return NotReproduced(f"The winner was packed, but {what}. {CURE}")


def _shown(value: Value | None) -> str:
    return repr(value[:80]) if isinstance(value, str) else f"{value or 0:.6g}"


def _difference(value: Value, expected: Value | None) -> float:
    """Return how far a value is from the expected one, by its size above 1; two that are no numbers are equal.

    Texts are equal, or infinitely far. Nothing is far from None.
    """
    if value is None or expected is None:
        return 0.0
    if isinstance(value, str) or isinstance(expected, str):
        return 0.0 if value == expected else math.inf
    if math.isnan(expected) or math.isinf(expected):
        return 0.0 if value == expected or (math.isnan(value) and math.isnan(expected)) else math.inf
    return abs(value - expected) / max(1.0, abs(expected)) if math.isfinite(value) else math.inf
