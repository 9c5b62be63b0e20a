"""The pieces that a batch is cut into, by what may go through the model together."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.results import Batching
from luthier.trials.data.batches import evaluation_batches, pieces, training_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks import text
from luthier.trials.tasks.encoded_images import ExactImages


def encoded(lengths: list[int], batching: Batching) -> Encoded:
    """Return token ids of these lengths; a row's ids are its number, counted from 1."""
    rows: list[Any] = [[row + 1] * length for row, length in enumerate(lengths)]
    return Encoded({"input_ids": rows}, {"input_ids": 0}, {}, lengths, max(lengths), batching=batching)


@pytest.mark.parametrize(
    ("batching", "expected"),
    [
        (Batching.RIGHT, [[3, 0], [1, 4], [2]]),
        (Batching.LEFT, [[3, 0], [1, 4], [2]]),
        (Batching.EQUAL, [[3], [0, 1], [4], [2]]),
        (Batching.SINGLE, [[3], [0], [1], [4], [2]]),
    ],
)
def test_rows_that_may_go_together(batching: Batching, expected: list[list[int]]) -> None:
    split = encoded([5, 5, 2, 9, 5], batching)
    found = pieces(split, [3, 0, 1, 4, 2], 2)
    assert [list(piece) for piece in found] == expected


def test_batches_of_equal_lengths_hold_every_row_once_and_no_padding() -> None:
    split = encoded([1 + i * 7 % 5 for i in range(97)], Batching.EQUAL)
    for batches in (training_batches(split.lengths, 8, 0), evaluation_batches(split.lengths, 64)):
        cut = [piece for batch in batches for piece in pieces(split, batch, 64)]
        assert sorted(row for piece in cut for row in piece) == list(range(97))
        assert all(0 not in text.collate(split, piece)["input_ids"] for piece in cut)
        assert len(cut) < 97


def test_balanced_batches_have_as_many_rows_of_each_class() -> None:
    classes = [0] * 70 + [1] * 25 + [3] * 5  # no row has class 2
    lengths = [1 + i % 9 for i in range(100)]
    epochs = [training_batches(lengths, 8, seed, classes) for seed in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    for batches in epochs:
        rows = [row for batch in batches for row in batch]
        assert [len(rows), len(batches)] == [100, len(training_batches(lengths, 8, 1))]
        times = Counter(rows)
        assert sorted(sum(times[i] for i in range(100) if classes[i] == label) for label in (0, 1, 3)) == [33, 33, 34]
        assert max(times[i] for i in range(70)) == 1, "a frequent class is drawn without repetition"
        assert {times[i] for i in range(70, 95)} <= {1, 2}
        assert {times[i] for i in range(95, 100)} <= {6, 7}
    left_out = [set(range(70)) - {row for batch in batches for row in batch} for batches in epochs[1:]]
    assert left_out[0] != left_out[1], "other rows are left out in another epoch"


def test_without_classes_batches_are_as_they_were() -> None:
    assert training_batches([3, 1, 2, 5, 4, 9, 8], 2, 5) == [[1, 0], [2, 4], [3], [6, 5]]


def test_padding_is_on_the_side_that_is_asked_for() -> None:
    right, left = (encoded([1, 3], side) for side in (Batching.RIGHT, Batching.LEFT))
    assert torch.equal(text.collate(right, [0, 1])["input_ids"], torch.tensor([[1, 0, 0], [2, 2, 2]]))
    assert torch.equal(text.collate(left, [0, 1])["input_ids"], torch.tensor([[0, 0, 1], [2, 2, 2]]))
    assert (text.starts(right, [0, 1]), text.starts(left, [0, 1])) == ([0, 0], [2, 0])


def test_the_length_of_a_waveform_is_its_own_where_nothing_is_padded() -> None:
    sounds = [torch.zeros(3).numpy(), torch.zeros(7).numpy()]
    split = Encoded({"input_values": sounds}, {"input_values": 0.0}, {}, [7, 7], 7)
    assert split.batched(Batching.RIGHT) is split
    assert list(split.batched(Batching.EQUAL).lengths) == [3, 7]
    files = ExactImages(columns={"image": [Path("a.png")]}, padding={}, targets={}, lengths=[1], longest=1, processor=0)
    assert list(files.batched(Batching.SINGLE).lengths) == [1]
    spectra = Encoded({"input_features": [torch.zeros(3, 2).numpy()]}, {"input_features": 0.0}, {}, [1], 1)
    assert list(spectra.batched(Batching.EQUAL).lengths) == [1]
