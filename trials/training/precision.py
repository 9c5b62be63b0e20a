"""The number formats that a trial computes in: bfloat16, TF32 or plain float32.

Weights are always float32. Each `Engine` makes one `Precision` for its model and applies it. TF32 (19 bits, on NVIDIA
GPUs from Ampere on) is a switch of the whole process, so that each engine sets it and none may rely on what an earlier
one has left.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch

from luthier.studies.spec_keys import Precision as PrecisionName
from luthier.trials.memory import out_of_memory
from luthier.trials.prefix.cache import PrefixCache


class Precision:
    """The number formats of one model's forward and backward passes on its device.

    `auto`: bfloat16 on GPUs that have it, with TF32 for what stays float32 there; else float32, with TF32 on GPUs that
    have it. `bfloat16`: the same on every device. `float32`: plain float32, without TF32.

    Attributes:
        bfloat16: The forward pass runs under autocast to bfloat16.
        tf32: Matrix products and convolutions in float32 may use TF32 on a GPU.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        on_capable_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self.bfloat16 = name == "bfloat16" or (name == "auto" and on_capable_gpu)
        self.tf32 = name != "float32"
        self._device = device

    @property
    def key(self) -> str:
        """Number format and kind of device, as they stand in the keys of the frozen-prefix cache.

        "float32 on cuda" has always been computed in TF32; computations without TF32 have their own key.
        """
        number_format = "bfloat16" if self.bfloat16 else "float32"
        if self._device.type == "cuda" and not self.tf32:
            number_format = "exact float32"
        return f"{number_format} on {self._device.type}"

    def apply(self) -> None:
        """Set the process's switches for TF32; on the CPU there are none."""
        self._switch_tf32(self.tf32)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context that a forward pass runs in."""
        if self.bfloat16:
            return torch.autocast(self._device.type, torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Switch TF32 off inside the context."""
        self._switch_tf32(False)
        try:
            yield
        finally:
            self.apply()

    def settle(self, forward: Callable[[], object], prefixes: PrefixCache, log: Callable[[str], None]) -> None:
        """Give up bfloat16 where the model's own code does not work in it (DeBERTa's does not).

        Args:
            forward: Runs the model on a small batch, under `autocast`.
            prefixes: The model's; they remember the answer for later trials.
            log: Writes a line into the trial's log.

        Raises:
            torch.OutOfMemoryError: Not even the small batch fits.
        """
        if not self.bfloat16:
            return
        if prefixes.rejects_bfloat16 is None:
            try:
                with torch.no_grad():
                    forward()
                prefixes.rejects_bfloat16 = False
            except RuntimeError as error:
                if out_of_memory(error):
                    raise
                prefixes.rejects_bfloat16 = True
        if prefixes.rejects_bfloat16:
            log("computes in float32: this model's code does not work in bfloat16")
            self.bfloat16 = False

    def _switch_tf32(self, allowed: bool) -> None:
        if self._device.type == "cuda":
            torch.set_float32_matmul_precision("high" if allowed else "highest")
            torch.backends.cudnn.allow_tf32 = allowed
