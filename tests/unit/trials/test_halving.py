"""Pieces that are half as large each time memory does not suffice, and the meter of memory."""

import pytest
import torch

from luthier.trials.training import memory_meter
from luthier.trials.training.halving import run_halving
from luthier.trials.training.memory_meter import MemoryMeter
from luthier.trials.training.micro_batch import MicroBatch


class Memory:
    """Holds `room` examples at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def compute(self, size: int) -> str:
        self.sizes.append(size)
        if size > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return f"in pieces of {size}"


def test_the_size_is_halved_until_it_fits_and_training_remembers_it() -> None:
    memory = Memory(3)
    micro_batch = MicroBatch()
    assert run_halving(memory.compute, 13, micro_batch) == "in pieces of 2"
    assert memory.sizes == [13, 7, 4, 2]
    assert micro_batch.limit == 2
    run_halving(memory.compute, 13, micro_batch)
    assert memory.sizes[4:] == [2]


def test_evaluation_lowers_nothing() -> None:
    micro_batch = MicroBatch()
    run_halving(Memory(3).compute, 13, micro_batch, remember=False)
    assert micro_batch.limit is None


def test_one_example_that_does_not_fit_is_an_error() -> None:
    memory = Memory(0)
    with pytest.raises(torch.OutOfMemoryError):
        run_halving(memory.compute, 2, MicroBatch())
    assert memory.sizes == [2, 1]


def test_any_other_error_is_raised_at_once() -> None:
    def compute(size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run_halving(compute, 8, MicroBatch())


def test_the_meter_keeps_the_most_since_it_was_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([5, 9, 7, 3])
    monkeypatch.setattr(memory_meter, "_resident_bytes", lambda: next(sizes))
    meter = MemoryMeter(torch.device("cpu"))
    assert [meter.measure() for _ in range(3)] == [5, 9, 9]
    meter.reset()
    assert meter.measure() == 3


def test_a_process_holds_memory() -> None:
    assert MemoryMeter(torch.device("cpu")).measure() > 1_000_000
