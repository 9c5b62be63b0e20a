"""The number of examples that fit in memory at once."""

import pytest

from luthier.trials.training.micro_batch import MicroBatch


def test_a_batch_goes_through_whole_until_memory_has_run_out() -> None:
    micro_batch = MicroBatch()
    assert micro_batch.limit is None
    assert micro_batch.within(12) == 12


def test_the_limit_is_lowered_and_never_raised() -> None:
    micro_batch = MicroBatch()
    micro_batch.lower(4)
    micro_batch.lower(8)
    assert micro_batch.limit == 4
    assert [micro_batch.within(examples) for examples in (3, 4, 12)] == [3, 4, 4]


def test_without_it_nothing_limits_and_what_is_lowered_there_is_forgotten() -> None:
    micro_batch = MicroBatch()
    micro_batch.lower(4)
    with pytest.raises(RuntimeError), micro_batch.without():
        assert micro_batch.limit is None
        micro_batch.lower(2)
        assert micro_batch.limit == 2
        raise RuntimeError
    assert micro_batch.limit == 4
