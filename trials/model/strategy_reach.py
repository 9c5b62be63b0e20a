"""The check that strategies which train blocks in their own way have blocks to train, above the least freeze depth.

The inspection calls it once for each model, with the space as it is for this model.
"""

from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.space import Space
from luthier.trials.errors import BadData
from luthier.trials.model.adapter_sites import targeted
from luthier.trials.model.backbone import Backbone

_TARGETS = "lora_targets"


def check_reach(backbone: Backbone, space: Space, model: str) -> None:
    """Check that adapters and gradual unfreezing change something in the trials that freeze least.

    Args:
        backbone: The model's blocks.
        space: Resolved for this model.
        model: The model's name, as the spec has it.

    Raises:
        BadData: No block is left to a strategy that the space offers, or none with a layer that `lora_targets` names.
    """
    least = space.least("freeze_depth") if "freeze_depth" in space else 0
    depth = int(space.assigned({"model": model, "freeze_depth": least})["freeze_depth"])
    if space.offers("strategy", "gradual") and depth >= backbone.depth:
        raise _frozen("gradual", depth, model)
    if not space.offers("strategy", "lora"):
        return
    blocks = range(depth + 1, len(backbone.blocks) + 1)
    if not blocks:
        raise _frozen("lora", depth, model)
    d = space.root.get(_TARGETS, HYPERPARAMETERS[_TARGETS].default)
    for i, targets in enumerate(d if isinstance(d, tuple) else (d,)):
        if not any(targeted(backbone, number, str(targets)) for number in blocks):
            text = (
                f"{targets} names layers of {model} in its {depth} lowest blocks only, and all trials freeze these; "
                "lower space.freeze_depth, or name other layers."
            )
            raise BadData(text, "space", _TARGETS, *([i] if isinstance(d, tuple) else []))


def _frozen(strategy: str, depth: int, model: str) -> BadData:
    text = (
        f"{strategy} changes nothing, since all trials freeze {depth} blocks of {model} and train its head alone; "
        "lower space.freeze_depth, or leave strategy out."
    )
    return BadData(text, "space", "strategy")
