"""A training step reads nothing off the device: what must be read is read once after the steps of an evaluation.

On the CPU nothing waits, so that the operations are counted which would wait for a GPU.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.masking_utils import sdpa_mask as transformers_mask

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.jobs.train import train_steps
from luthier.trials.prefix.known_padding import known, sdpa_mask, told
from luthier.trials.training.epoch_parts import EpochParts
from luthier.trials.training.loss_watch import CHECK_STEPS, LossWatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import open_trial
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.equal.default")
HARDER = {"class_weighting": "balanced", "strategy": "lora", "l1": 1e-4}


class Reads(TorchDispatchMode):
    """Counts the operations that read a tensor: on a GPU they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        indices = args[1] if "index" in name and len(args) > 1 and isinstance(args[1], list | tuple) else ()
        by_mask = any(isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in indices)
        if by_mask or any(part in name for part in READS):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("architecture", "params"),
    [
        ("bert", {"freeze_depth": 1}),
        pytest.param("bert", HARDER, marks=pytest.mark.full),
        pytest.param("resnet", {}, marks=pytest.mark.full),
        pytest.param("gpt2", {}, marks=pytest.mark.full),
        pytest.param("whisper", {}, marks=pytest.mark.wide),
        pytest.param("vit", {"freeze_depth": 1}, marks=pytest.mark.wide),
        pytest.param("modernbert", {}, marks=pytest.mark.wide),
        pytest.param("deberta-v2", {}, marks=pytest.mark.wide),
    ],
)
def test_more_steps_read_no_more(assign: Assign, tmp_path: Path, architecture: str, params: dict[str, Any]) -> None:
    task = ARCHITECTURES[architecture].task
    model = ARCHITECTURES[architecture].build(tmp_path / "model")
    source = {"source": str(tiny_data(task, tmp_path / "data", rows=40))}
    spec = {"task": task, "model": str(model), "dataset": source, "semantics": NEWEST_SEMANTICS}
    with open_trial(assign(spec=spec, params=params), Memory(tmp_path / "session"), ModelCache()) as trial:
        _, batches = EpochParts(trial).before(0)
        with trial.unfreezing.training():
            train_steps(trial, batches[:1], 0)
            for steps in (1, 3):
                with Reads() as reads:
                    train_steps(trial, batches[:steps], 0)
                assert reads.counts == {"aten._local_scalar_dense.default": 1}, "the mean loss, once"


@pytest.mark.parametrize("lengths", [(5, 5), (5, 3)])
@pytest.mark.parametrize("options", [{"allow_is_causal_skip": False, "allow_is_bidirectional_skip": True}, {}])
def test_masks_are_the_same_without_a_look(lengths: tuple[int, ...], options: dict[str, bool]) -> None:
    mask = torch.tensor([[position < length for position in range(5)] for length in lengths])
    sizes = {"batch_size": 2, "q_length": 5, "kv_length": 5, "attention_mask": mask}
    told(inputs := {"attention_mask": mask.long()}, inputs)
    expected = transformers_mask(**sizes, **options)
    with known(inputs), Reads() as reads:
        made = sdpa_mask(**sizes, **options)
    assert not reads.counts
    assert (made is None) == (expected is None)
    if made is not None and expected is not None:
        assert torch.equal(made, expected)


def test_a_loss_that_is_no_number_is_seen_within_some_steps() -> None:
    watch = LossWatch(torch.device("cpu"))
    for step in range(CHECK_STEPS):
        watch.add(torch.tensor(float("nan") if step == 3 else 1.0))
        assert watch.diverged() == (step == CHECK_STEPS - 1)
    good = LossWatch(torch.device("cpu"))
    for _ in range(CHECK_STEPS):
        good.add(torch.tensor(2.0))
    assert not good.diverged()
    assert good.mean() == 2.0
