"""The number formats of a trial: the switches that are set on a GPU, recorded here without one."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from luthier.studies.spec_keys import Precision as PrecisionName
from luthier.trials.prefix.cache import PrefixCache
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.precision import Precision

GPU = torch.device("cuda")
CPU = torch.device("cpu")


class Switches:
    """What was set last."""

    def __init__(self) -> None:
        self.matmul: str | None = None

    @property
    def both(self) -> tuple[str | None, bool]:
        return self.matmul, torch.backends.cudnn.allow_tf32


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Switches:
    """A process with a GPU that has bfloat16 and TF32, as far as its switches tell."""
    recorded = Switches()
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda value: setattr(recorded, "matmul", value))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    return recorded


class ModelOnGpu(nn.Module):
    """A model whose one parameter says that it is on a GPU."""

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        yield SimpleNamespace(device=GPU, requires_grad=True)


PLAIN = ("highest", False)
TF32 = ("high", True)


@pytest.mark.parametrize(
    ("name", "switched", "bfloat16"), [("auto", TF32, True), ("bfloat16", TF32, True), ("float32", PLAIN, False)]
)
def test_only_an_explicit_float32_computes_without_tf32(
    switches: Switches, name: PrecisionName, switched: tuple[str, bool], bfloat16: bool
) -> None:
    precision = Precision(name, GPU)
    precision.apply()
    assert switches.both == switched
    assert precision.bfloat16 == bfloat16


def test_each_engine_sets_the_switches_of_its_own_precision(switches: Switches) -> None:
    names: list[PrecisionName] = ["float32", "auto", "float32", "bfloat16"]
    for name in names:
        Engine(ModelOnGpu(), SimpleNamespace(), MicroBatch(), precision=name)  # type: ignore[arg-type]
        assert switches.both == (PLAIN if name == "float32" else TF32), name


def test_exact_computes_without_tf32_and_sets_it_back(switches: Switches) -> None:
    for name in ("auto", "float32"):
        precision = Precision(name, GPU)
        precision.apply()
        before = switches.both
        with pytest.raises(RuntimeError), precision.exact():
            assert switches.both == PLAIN
            raise RuntimeError
        assert switches.both == before


def test_nothing_is_switched_on_the_cpu(switches: Switches) -> None:
    precision = Precision("float32", CPU)
    precision.apply()
    with precision.exact():
        pass
    assert switches.both == (None, True)


def test_a_gpu_without_bfloat16_computes_in_float32_with_tf32(
    switches: Switches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    precision = Precision("auto", GPU)
    precision.apply()
    assert (precision.bfloat16, switches.both) == (False, TF32)


def test_prefixes_that_were_computed_in_tf32_are_not_those_of_plain_float32(
    switches: Switches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Precision("auto", GPU).key == Precision("bfloat16", GPU).key == "bfloat16 on cuda"
    assert Precision("float32", GPU).key == "exact float32 on cuda"
    assert Precision("auto", CPU).key == Precision("float32", CPU).key == "float32 on cpu"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert Precision("auto", GPU).key == "float32 on cuda"


def test_a_model_that_rejects_bfloat16_is_tried_once() -> None:
    lines: list[str] = []
    tries: list[int] = []

    def forward() -> None:
        tries.append(1)
        raise RuntimeError("expected scalar type Float but found BFloat16")

    prefixes = PrefixCache()
    for _ in range(2):
        precision = Precision("bfloat16", CPU)
        precision.settle(forward, prefixes, lines.append)
        assert not precision.bfloat16
    assert len(tries) == 1
    assert lines == ["computes in float32: this model's code does not work in bfloat16"] * 2


def test_too_little_memory_is_no_rejection_of_bfloat16() -> None:
    def forward() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    prefixes = PrefixCache()
    with pytest.raises(torch.OutOfMemoryError):
        Precision("bfloat16", CPU).settle(forward, prefixes, lambda line: None)
    assert prefixes.rejects_bfloat16 is None
