"""Word and character error rates are those of jiwer, over random texts."""

import random
from itertools import product

import pytest
import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.transcripts import Transcripts, plain_transcript
from luthier.trials.tasks.edits import distance, edits
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics

ALPHABET = "abc  é'"


def slow_distance(first: str, second: str) -> int:
    """The Levenshtein distance by its definition, a table of all beginnings (Wagner and Fischer 1974)."""
    above = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        row = [i]
        for j, two in enumerate(second, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (one != two)))
        above = row
    return above[-1]


def drawn(draw: random.Random, longest: int) -> str:
    return "".join(draw.choices(ALPHABET, k=draw.randint(0, longest)))


def pairs(count: int, longest: int, seed: int) -> list[tuple[str, str]]:
    """Return texts and what a model may write of them."""
    draw = random.Random(seed)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        truth = plain_transcript(drawn(draw, longest))
        if truth:
            said = "".join(letter if draw.random() < 0.7 else drawn(draw, 2) for letter in truth)
            found.append((truth, said if draw.random() < 0.9 else ""))
    return found


def test_distances_of_all_short_sequences() -> None:
    texts = ["".join(letters) for length in range(5) for letters in product("ab", repeat=length)]
    assert all(distance(one, two) == slow_distance(one, two) for one in texts for two in texts)


def test_distances_of_longer_sequences() -> None:
    """Longer than a machine word, too."""
    for truth, said in pairs(40, 150, seed=1):
        assert distance(said, truth) == slow_distance(said, truth)
        assert distance(truth, said) == slow_distance(said, truth)


def scored(found: list[tuple[str, str]]) -> Metrics:
    """Score what was said by the task's own code."""
    counts = [edits(said, truth) for truth, said in found]
    columns = {
        "word_edits": [one.words for one in counts],
        "words": [one.of_words for one in counts],
        "letter_edits": [one.letters for one in counts],
        "letters": [one.of_letters for one in counts],
        "loss": [1.0] * len(counts),
        "size": [2.0] * len(counts),
    }
    statistics = Statistics({name: torch.tensor(values) for name, values in columns.items()}, {})
    return task_code("automatic-speech-recognition").scores(statistics, Transcripts(("a",)))


@pytest.mark.parametrize("seed", range(20))
def test_rates_are_those_of_jiwer(seed: int) -> None:
    jiwer = pytest.importorskip("jiwer")
    found = pairs(30, 80, seed)
    truths, said = [truth for truth, _ in found], [plain_transcript(text) for _, text in found]
    scores = scored(found)
    assert scores["wer"] == pytest.approx(jiwer.wer(truths, said), abs=1e-9)
    assert scores["cer"] == pytest.approx(jiwer.cer(truths, said), abs=1e-9)
    assert scores["loss"] == 0.5


def test_what_was_not_written_is_no_error() -> None:
    found = [("one two", "one"), ("three", "")]
    columns = {
        "word_edits": torch.tensor([1, -1]),
        "words": torch.tensor([2, 1]),
        "letter_edits": torch.tensor([-1, -1]),
        "letters": torch.tensor([7, 5]),
        "loss": torch.tensor([torch.inf, 1.0]),
        "size": torch.ones(2),
    }
    assert len(found) == 2
    scores = task_code("automatic-speech-recognition").scores(Statistics(columns, {}), Transcripts(("a",)))
    assert scores == {"wer": 0.5, "cer": None, "loss": None}
