"""The words in which a trial's log says why a tensor below the cut cannot be kept.

The search for a cut uses them.
"""

from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.cut import Site
from luthier.trials.prefix.shapes import Shape, UnknownShape
from luthier.trials.prefix.trace import ForwardTrace


def described(site: Site, shape: Shape | UnknownShape) -> str:
    """Return the name of a tensor, and its shape."""
    name, call, leaf = site
    which = f"output {leaf + 1} of {name}" if leaf else f"the output of {name}"
    size = str(shape) if isinstance(shape, Shape) else " then ".join(str(tuple(s)) for s in shape.sizes)
    return f"{which}{f' in its call {call + 1}' if call else ''}, {size},"


def obstacle(backbone: Backbone, depth: int, trace: ForwardTrace) -> str:
    """Return why nothing that is worth it can be kept below the first trained part of a forward."""
    frozen = backbone.frozen(depth)
    trained = {id(p): name for name, p in backbone.model.named_parameters() if name not in frozen}
    for call in trace.calls:
        for p in call.part.parameters():
            if id(p) in trained:
                return f"{trained[id(p)]}, {tuple(p.shape)}, is trained, and its blocks depend on it"
    return "its frozen part computes nothing"
