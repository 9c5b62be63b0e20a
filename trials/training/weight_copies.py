"""Copies in bfloat16 of the weights that a model multiplies by, so that no forward pass casts them.

Autocast casts each weight to bfloat16 in each step, and the weight's gradient back. The forward pass uses these copies
in their place; model, optimizer, checkpoints and penalties know the float32 weights alone, which are the master. Copies
are what autocast would have made, so that every loss and every gradient stays the same, bit by bit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.trials.memory import out_of_memory

CASTING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)
"""The layers whose parameters autocast casts to bfloat16, all of them and nothing else."""
ADAPTER = "lora_"
"""In the names of an adapter's layers: peft drops out inputs in the format of their weights, which therefore stays."""


class WeightCopies:
    """The copies of one model's weights; a weight that another kind of layer uses too has none.

    Args:
        model: In float32.

    Attributes:
        has_frozen: Whether frozen weights have copies, too: those below a frozen prefix that is kept are not used.
    """

    def __init__(self, model: nn.Module) -> None:
        places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = defaultdict(list)
        others: set[nn.Parameter] = set()
        for path, module in model.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is None:
                    continue
                places[parameter].append((module, name))
                if type(module) not in CASTING or ADAPTER in path or parameter.dtype != torch.float32:
                    others.add(parameter)
        self.has_frozen = True
        self._places = {parameter: where for parameter, where in places.items() if parameter not in others}
        self._copies: dict[nn.Parameter, torch.Tensor] = {}
        self._versions: dict[nn.Parameter, int] = {}
        self._gradients: dict[nn.Parameter, torch.Tensor] = {}  # float32; kept, as new memory takes time
        self._is_active = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this context the model's layers have the copies as parameters, as of the float32 weights now."""
        if self._is_active:
            yield
            return
        used = self._current()
        exchanged: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._is_active = True
        try:
            for parameter in used:
                for module, name in self._places[parameter]:
                    if module._parameters.get(name) is parameter:
                        module._parameters[name] = self._copies[parameter]  # type: ignore[assignment]
                        exchanged.append((module, name, parameter))
            yield
        finally:
            for module, name, parameter in exchanged:
                module._parameters[name] = parameter
            self._is_active = False

    @torch.no_grad()
    def _current(self) -> list[nn.Parameter]:
        """Return the weights whose copies are used, which are made new where the weights have changed."""
        used = [parameter for parameter in self._places if parameter.requires_grad or self.has_frozen]
        for parameter in used:
            if parameter not in self._copies:
                self._copies[parameter] = torch.empty_like(parameter, dtype=torch.bfloat16)
            self._copies[parameter].requires_grad_(parameter.requires_grad)
        stale = [parameter for parameter in used if self._versions.get(parameter) != parameter._version]
        for parameter in stale:
            self._copies[parameter].copy_(parameter)
        self._versions |= {parameter: parameter._version for parameter in stale}
        return used

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Add the copies' gradients to those of the float32 weights, after a backward pass."""
        for parameter, copy in self._copies.items():
            if copy.grad is None:
                continue
            if parameter.grad is not None:
                parameter.grad.add_(copy.grad)
                continue
            if parameter not in self._gradients:
                self._gradients[parameter] = torch.empty_like(parameter)
            parameter.grad = self._gradients[parameter].copy_(copy.grad)
        self.drop_gradients()

    def expect_step(self) -> None:
        """Make the copies of trained weights anew before they are used: fused optimizers leave no trace of a step."""
        self._versions = {p: version for p, version in self._versions.items() if not p.requires_grad}

    def drop_gradients(self) -> None:
        """Forget the copies' gradients, also those that an attempt which ran out of memory has left."""
        for copy in self._copies.values():
            copy.grad = None


@torch.no_grad()
def same_with_copies(model: nn.Module, forward: Callable[[], Mapping[str, torch.Tensor]]) -> bool:
    """Return whether a model's answers are the same with copies of its weights, to the last bit.

    Args:
        model: In evaluation mode; it is unchanged afterwards.
        forward: Returns its outputs for a small batch, under autocast.

    Raises:
        torch.OutOfMemoryError: Not even the small batch fits.
    """
    copies = WeightCopies(model)
    expected = forward()
    try:
        with copies.active():
            outputs = forward()
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        return False
    return all(torch.equal(outputs[name], expected[name]) for name in expected)
