"""A comparison by word error rate seldom promotes an equal challenger, and the memory of an evaluation is a batch's."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from luthier.studies.promotion import Promote, judge
from luthier.studies.protocol import Assignment
from luthier.studies.results import Comparison
from luthier.studies.strategy import Objective
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import REPLICATES, Replicates
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training import collector, engine
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiny_speech import SPEECH_ARCHITECTURES, tiny_speech
from tests.support.trials import Memory

TASK = "automatic-speech-recognition"
ROWS, RUNS = 200, 300
Counts = dict[str, numpy.ndarray]


def drawn(draw: numpy.random.Generator, quality: float) -> tuple[Counts, Counts]:
    """Return the edits and words of two models on one test split; errors come in heaps, some sounds are hard.

    Args:
        draw: The generator.
        quality: The challenger's errors by the champion's.
    """
    words = draw.integers(1, 25, ROWS)
    hard = draw.beta(0.5, 2.0, ROWS)
    sides = [draw.binomial(words, hard * factor) + (draw.random(ROWS) < 0.02) * words for factor in (1.0, quality)]
    champion, challenger = ({"edits": edits, "words": words} for edits in sides)
    return champion, challenger


def compared(draw: numpy.random.Generator, champion: Counts, challenger: Counts) -> Comparison:
    """Return the comparison that `Replicates` would give, its samples as products of matrices."""
    words = champion["words"]
    sides = numpy.stack([champion["edits"], challenger["edits"]], 1)  # (rows, 2)
    coins = draw.integers(0, 2, (REPLICATES, ROWS))
    swapped = coins @ sides[:, ::-1] + (1 - coins) @ sides
    counts = draw.multinomial(ROWS, numpy.full(ROWS, 1 / ROWS), REPLICATES)
    resampled = (counts @ sides) / (counts @ words)[:, None]
    rates = sides.sum(0) / words.sum()
    return Comparison(
        examples=ROWS,
        excluded=0,
        labelled_units=ROWS,
        independent=True,
        champion={"wer": float(rates[0])},
        challenger={"wer": float(rates[1])},
        gained=0,
        lost=0,
        exchanged=((swapped[:, 0] - swapped[:, 1]) / words.sum()).tolist(),
        resampled=(resampled[:, 0] - resampled[:, 1]).tolist(),
        predictions={"name": "none", "sha256": "0" * 64, "bytes": 0},
    )


@pytest.mark.full
def test_equal_models_are_seldom_promoted_and_better_ones_are() -> None:
    objective = Objective.model_validate({"metric": "wer"})
    assert objective.direction == "minimize"
    shares = {}
    for quality in (1.0, 0.7):
        draw = numpy.random.default_rng(0)
        runs = [compared(draw, *drawn(draw, quality)) for _ in range(RUNS)]
        shares[quality] = (
            sum(judge(run, objective, Promote(confidence=0.95), binary=False).promoted for run in runs) / RUNS
        )
    assert shares[1.0] <= 0.05 + 2 * (0.05 * 0.95 / RUNS) ** 0.5
    assert shares[0.7] > 0.9


def test_replicates_are_sums_of_edits_by_sums_of_words(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    """The samples of a comparison are spread as those of the simulation."""
    draw = numpy.random.default_rng(3)
    champion, challenger = drawn(draw, 1.0)
    expected = compared(draw, champion, challenger)
    code, targets = task_code(TASK), Transcripts(("a",))

    def predictions(counts: Counts) -> Predictions:
        edits, words = (torch.from_numpy(counts[name]) for name in ("edits", "words"))
        units = {"word_edits": edits, "words": words, "letter_edits": edits, "letters": words}
        units |= {"loss": edits.double(), "size": words.double()}
        return Predictions(code, targets, None, Statistics(units, {}))  # type: ignore[arg-type]

    work = assign(spec={"task": TASK})
    models = predictions(champion), predictions(challenger)
    exchanged, resampled = Replicates(work, Memory(tmp_path), *models, None).draw()  # type: ignore[arg-type]
    for mine, theirs in ((exchanged, expected.exchanged), (resampled, expected.resampled)):
        assert numpy.mean(mine) == pytest.approx(numpy.mean(theirs), abs=5 * numpy.std(theirs) / REPLICATES**0.5)
        assert numpy.std(mine) == pytest.approx(numpy.std(theirs), rel=0.15)


@pytest.mark.parametrize("name", ["hubert-ctc", pytest.param("whisper-speech", marks=pytest.mark.full)])
def test_logits_of_a_batch_are_gone_before_the_next(
    name: str, assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "EVALUATION_BATCH", {"cuda": 4, "cpu": 4})
    monkeypatch.setattr(collector, "HELD_BYTES", 0)
    alive: list[Any] = []
    most = 0
    model = SPEECH_ARCHITECTURES[name].build(tmp_path / "model")
    source = tiny_speech(tmp_path / "data", 40)
    opened = ModelCache().open(assign(spec={"task": TASK, "model": str(model), "dataset": {"source": str(source)}}))
    reduce = type(opened.task).answers

    def watched(self: Any, outputs: Any, targets: Any) -> Any:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(outputs["logits"]))
        return reduce(self, outputs, targets)

    monkeypatch.setattr(type(opened.task), "answers", watched)
    split = opened.encoded("train", 0)
    found = Engine(opened.pretrained.model, opened.task, MicroBatch()).evaluate(split, opened.data.targets)
    assert len(alive) >= 5
    assert most <= 1, "those of the batch before, until its names are bound anew"
    widths = {name: values[0].numel() for name, values in found.units.items()}
    assert widths.pop("said") < 4 * max(map(len, opened.data.splits["train"].targets)) + 20
    assert set(widths.values()) == {1}
