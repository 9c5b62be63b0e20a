"""The choice of a model's memory format, made once for a model, a device and a number format.

`ForwardPass` asks for it when a trial is set up. On the CPU it follows a rule, so that a trial is the same on every
machine and after every restart; on a GPU both formats are timed.
"""

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from luthier.trials.memory import out_of_memory
from luthier.trials.model import memory_format
from luthier.trials.prefix.probe import Outputs, Probe

Forward = Callable[[Mapping[str, torch.Tensor]], Outputs]

GAIN = 1.05
"""On a GPU channels last must be so many times as fast."""
WARM_STEPS, TIMED_STEPS = 3, 5


class Layout:
    """The memory format of one model. A worker's child keeps it with the model.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._chosen: dict[str, bool] = {}  # by number format and kind of device

    def arrange(self, *, channels_last: bool) -> None:
        """Put the model into a memory format, if it has another one."""
        if memory_format.is_channels_last(self._model) != channels_last:
            memory_format.arrange(self._model, channels_last=channels_last)

    def settle(
        self,
        key: str,
        inputs: Callable[[], Mapping[str, torch.Tensor]],
        forward: Forward,
        exact: Forward,
        log: Callable[[str], None],
    ) -> None:
        """Put the model into the format in which it is faster, if its answers stay what they are.

        Args:
            key: Number format and kind of device.
            inputs: Makes a batch of some examples in the usual format, where nothing is chosen yet.
            forward: Computes the model's outputs, in the trial's number format.
            exact: Computes them in float32.
            log: Writes a line into the trial's log.

        Raises:
            torch.OutOfMemoryError: The examples do not fit.
        """
        if key not in self._chosen:
            training = self._model.training
            self._model.eval()
            self.arrange(channels_last=False)
            try:
                convolutional = memory_format.is_convolutional(self._model)
                self._chosen[key] = convolutional and self._is_better(inputs(), forward, exact)
            finally:
                self._model.train(training)
            if self._chosen[key]:
                log(f"computes convolutions in channels last, in {key}")
        self.arrange(channels_last=self._chosen[key])

    def _is_better(self, inputs: Mapping[str, torch.Tensor], forward: Forward, exact: Forward) -> bool:
        """Return whether channels last is faster and gives the same answers, up to rounding."""
        with torch.no_grad():
            expected = exact(inputs)
            try:
                usual = 0.0 if _on_cpu(inputs) else _seconds(self._model, forward, inputs)
                self.arrange(channels_last=True)
                last = memory_format.images_last(inputs)
                found = exact(last)
                if not all(Probe.is_close(found[name], values) for name, values in expected.items()):
                    return False
                return _on_cpu(inputs) or usual > GAIN * _seconds(self._model, forward, last)
            except RuntimeError as error:  # a model's own code may not know the format, or not work in bfloat16
                if out_of_memory(error):
                    raise
                return False


def _on_cpu(inputs: Mapping[str, torch.Tensor]) -> bool:
    return all(values.device.type == "cpu" for values in inputs.values())


@torch.enable_grad()
def _seconds(model: nn.Module, forward: Forward, inputs: Mapping[str, torch.Tensor]) -> float:
    """Return the seconds that a forward and a backward pass take, the quickest of some."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = next(model.parameters()).device
    seconds = []
    for _ in range(WARM_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        loss = torch.stack([values.float().square().mean() for values in forward(inputs).values()]).sum()
        torch.autograd.grad(loss, trained, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[WARM_STEPS:])
