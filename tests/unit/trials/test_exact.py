"""Batches for the winner's score."""

from luthier.trials.data.batches import unpadded_batches


def test_rows_of_one_length_go_together_longest_first_and_none_twice() -> None:
    lengths = [3, 5, 3, 3, 9, 5, 3]
    assert list(unpadded_batches(lengths, 2)) == [[4], [1, 5], [0, 2], [3, 6]]
    assert list(unpadded_batches([1] * 3, 64)) == [[0, 1, 2]]
