"""A model set up for a trial: its head or adapters drawn, its bottom blocks frozen."""

from typing import Any

from torch import nn

from luthier.trials.model import lora
from luthier.trials.training.model_cache import OpenStudy
from luthier.trials.training.seeding import derive


def prepare(opened: OpenStudy, params: dict[str, Any], seed: int) -> tuple[nn.Module, Any]:
    """The pretrained model with a fresh head, frozen to the configuration's depth; and its backbone."""
    model = opened.pretrained.reset(derive(seed, "head"), float(params["dropout"]))
    if params["strategy"] == "lora":
        return model, lora.adapt(opened.pretrained, opened.backbone, params, derive(seed, "adapters"))
    opened.backbone.freeze(int(params["freeze_depth"]))
    return model, opened.backbone
