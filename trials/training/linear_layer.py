"""The layer that trials with `strategy: probe` solve: the last one of the head, where the outputs are linear in it.

The inspection checks that a model has one; `setup.prepare` lets it alone change.
"""

import torch
from torch import nn

from luthier.trials.errors import BadData
from luthier.trials.model.last_layer import last_linear, left_out
from luthier.trials.training.engine import Engine
from luthier.trials.training.linear_problem import outputs_of
from luthier.trials.training.open_study import OpenStudy

CLOSE = 1e-4
"""How far an output may be from what the layer makes of its features, by the size of the outputs."""
CHECKED_ROWS = 2


def solved_layer(study: OpenStudy) -> nn.Linear:
    """Return the layer of a study's model that is solved.

    Raises:
        BadData: The head has no such layer.
    """
    outputs = outputs_of(study.task, study.data.targets)
    layer = None if outputs is None else last_linear(study.pretrained.model, outputs)
    if layer is None:
        raise _no_layer(study)
    return layer


@torch.no_grad()
def check_layer(study: OpenStudy, engine: Engine, max_length: int) -> None:
    """Check that a model's outputs are linear in the features that go into its last layer.

    Args:
        study: Data and model.
        engine: Of the model, in evaluation mode.
        max_length: Of the inputs.

    Raises:
        BadData: They are not.
    """
    layer = solved_layer(study)
    validation = study.encoded("validation", max_length)
    rows = range(1 if study.batching.value in ("equal", "single") else min(CHECKED_ROWS, len(validation)))
    given, targets = engine.outputs(validation, rows)
    wanted = study.task.counted(given, targets).float()
    with left_out(study.pretrained.model, layer):
        inner, _ = engine.outputs(validation, rows)
    features = study.task.counted(inner, targets)
    fits = features.ndim == 2 and features.shape[1] == layer.in_features
    if not fits or not torch.allclose(layer(features).float(), wanted, atol=CLOSE * float(wanted.abs().max())):
        raise _no_layer(study)


def _no_layer(study: OpenStudy) -> BadData:
    kind = type(study.pretrained.model).__name__
    text = f"{study.name} cannot be solved by strategy: probe: the answers of {kind} are not one linear layer of one "
    return BadData(f"{text}vector; leave probe out, or choose another model.", "space", "strategy")
