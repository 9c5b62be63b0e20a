"""The logits of a whole split, which the engine itself never keeps."""

import torch

from luthier.trials.data.encoded import Encoded
from luthier.trials.training.engine import Engine
from luthier.trials.training.open_study import OpenStudy


@torch.no_grad()
def logits_of(engine: Engine, opened: OpenStudy, encoded: Encoded) -> torch.Tensor:
    """Return the logits that count, (units, ...) in float32, in one batch, with the engine's cache and shortcuts."""
    engine.model.eval()
    outputs, targets = engine.outputs(encoded, range(len(encoded)))
    return opened.task.counted(outputs, targets).float()
