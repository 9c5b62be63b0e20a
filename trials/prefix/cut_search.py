"""The search for the cut of a model, which is used only if logits on a few examples stay the same.

The prefix cache calls it once for each model and depth. It assumes nothing about an architecture.
"""

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.cut import LENGTHS_DIFFER, WHOLE, CannotCut, Cut, Field, capture
from luthier.trials.prefix.probe import PER_TOKEN, Forward, Probe, Probes, random_projection, token_kind
from luthier.trials.prefix.shapes import BATCH, TOKENS, Shape, StructureMismatch, UnknownShape, input_sizes, stubbed
from luthier.trials.prefix.trace import ForwardTrace, trace_forward


def find_cut(backbone: Backbone, depth: int, forward: Forward, probes: Probes) -> Cut:
    """Find the cut of a model in evaluation mode whose bottom blocks are the pretrained ones.

    Args:
        backbone: The model's blocks.
        depth: Number of frozen blocks, at least 1.
        forward: Computes the model's logits in float32.
        probes: Batches of the split's examples.

    Raises:
        CannotCut: The model's logits change when its forward starts at the cut.
    """
    with torch.no_grad():
        traces = [trace_forward(backbone, forward, probe) for probe in probes.sizes]
        whole = trace_forward(backbone, forward, probes.whole)
    try:
        cut = Cut(backbone, depth, traces)
    except StructureMismatch:
        raise CannotCut("what its frozen part gives has another form for every batch") from None
    cut.fields = _fields(cut, backbone, forward, whole, probes.whole)
    inputs, lengths = probes.whole.inputs, probes.whole.lengths
    with torch.no_grad():
        captured = [_capture_rows(cut, forward, probe) for probe in probes.parts]
        values = [
            field.from_rows(torch.cat([captured[0][i], captured[1][i]]), lengths, input_sizes(inputs)[TOKENS])
            for i, field in enumerate(cut.fields)
        ]
        for _ in cut.stub_plans():
            try:
                with cut.injecting(values, inputs):
                    logits = probes.whole.logits(forward)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                if out_of_memory(error):
                    raise
                continue  # this plan stubs a value that the model's code needs: try the next plan
            if probes.whole.is_close(logits, whole.logits):
                return cut
    raise CannotCut("more than one path leads out of its frozen part")


def _capture_rows(cut: Cut, forward: Forward, probe: Probe) -> list[torch.Tensor]:
    values = capture(cut, forward, probe.inputs)
    return [field.to_rows(value, probe.lengths) for field, value in zip(cut.fields, values, strict=True)]


def _fields(cut: Cut, backbone: Backbone, forward: Forward, trace: ForwardTrace, probe: Probe) -> list[Field]:
    """Choose the tensors to keep: of a part's arguments the first float one, of the base's output those in use."""
    leaves, spec = tree_flatten(cut.crossing(trace))
    floats = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    if not floats:
        raise CannotCut("no tensor leads out of its frozen part")
    if cut.part is not None:
        return [_field(cut, floats[0], PER_TOKEN)]
    variables = {i: leaves[i].detach().requires_grad_() for i in floats}
    leaves = [variables.get(i, leaf) for i, leaf in enumerate(leaves)]
    with stubbed(backbone.base, tree_unflatten(leaves, spec)), torch.enable_grad():
        target = random_projection(probe.logits(forward))
    gradients = torch.autograd.grad(target, list(variables.values()), allow_unused=True)
    used = [(i, g) for i, g in zip(variables, gradients, strict=True) if g is not None and bool(g.any())]
    if not used:
        raise CannotCut("its head does not look at its frozen part's output")
    return [_field(cut, i, token_kind(gradient, probe.lengths)) for i, gradient in used]


def _field(cut: Cut, leaf: int, kind: str) -> Field:
    shape = tree_flatten(cut.template)[0][leaf]
    if isinstance(shape, UnknownShape):
        raise CannotCut(LENGTHS_DIFFER)
    if not isinstance(shape, Shape) or shape.dims[0] != BATCH or TOKENS in shape.dims[2:]:
        raise CannotCut("what its frozen part gives does not belong to one example each")
    if len(shape.dims) < 2 or shape.dims[1] != TOKENS:
        kind = WHOLE
    if BATCH in shape.dims[1:]:
        raise CannotCut("what its frozen part gives mixes examples")
    return Field(leaf, kind, shape)
