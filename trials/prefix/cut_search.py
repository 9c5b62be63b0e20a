"""The search for the cut of a model, which is used only if logits on a few examples stay the same.

The prefix cache calls it once for each model and depth. It assumes nothing about an architecture: which of the frozen
parts' tensors the trained part looks at is found by the gradient, and by trial where the gradient does not tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.axes import BATCH
from luthier.trials.prefix.cut import CannotCut, Cut, Site, capture, frozen_stubs, values_of
from luthier.trials.prefix.cut_reasons import described, obstacle
from luthier.trials.prefix.field import SHARED, CannotKeep, Field
from luthier.trials.prefix.probe import PER_TOKEN, Forward, Probe, Probes, random_projection, token_kind
from luthier.trials.prefix.shapes import Shape, UnknownShape
from luthier.trials.prefix.trace import trace_forward

REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, StopIteration)
"""What the code of a model raises when it cannot compute with zeros in place of a tensor."""

Kinds = Mapping[Site, str]  # a tensor that is needed above the cut -> which of its tokens


def find_cut(backbone: Backbone, depth: int, forward: Forward, probes: Probes) -> Cut:
    """Find the cut of a model in evaluation mode whose bottom blocks are the pretrained ones.

    A frozen part whose output is needed and cannot be kept is computed in every forward, like the trained ones; the
    parts below it can still be kept.

    Args:
        backbone: The model's blocks.
        depth: Number of frozen blocks, at least 1.
        forward: Computes the model's logits in float32.
        probes: Batches of the split's examples.

    Raises:
        CannotCut: The model's logits change when its forward starts at the cut, or nothing can be kept.
    """
    axes = list(probes.whole.axes)
    with torch.no_grad():
        traces = [trace_forward(backbone, forward, probe, keep_values=True) for probe in probes.sizes]
        whole = trace_forward(backbone, forward, probes.whole, keep_values=True)
    refusals: list[str] = []
    below = stubs = frozen_stubs(backbone, depth, traces, axes, refusals)
    values, others = values_of(stubs, whole), [values_of(stubs, trace) for trace in traces]
    search = _Search(backbone, forward, probes, whole.logits, values, others)
    while any(_multiplies(stub.part) for stub in stubs):
        kept = {stub.name for stub in stubs}
        cut = Cut(stubs, (), [s.name for s in below if s.name not in kept and _multiplies(s.part)], list(refusals))
        computed = search.attempt(cut, refusals)
        if not computed:
            return cut
        stubs = [stub for stub in stubs if stub.name not in computed]
    raise CannotCut(refusals[0] if refusals else obstacle(backbone, depth, traces[0]))


@dataclass(frozen=True)
class _Search:
    """The search for the tensors that must be kept.

    Attributes:
        backbone: The model's blocks.
        forward: Computes the model's logits in float32.
        probes: Batches of the split's examples.
        expected: The logits of the whole forward of `probes.whole`.
        values: What the frozen parts returned in it.
        others: What they returned in those of `probes.sizes`.
    """

    backbone: Backbone
    forward: Forward
    probes: Probes
    expected: torch.Tensor
    values: Mapping[Site, torch.Tensor]
    others: Sequence[Mapping[Site, torch.Tensor]]

    def attempt(self, cut: Cut, refusals: list[str]) -> set[str]:
        """Choose the fields of a cut.

        Args:
            cut: Its stubs are tried; it gets the fields.
            refusals: Gets a sentence for each tensor that is needed and cannot be kept.

        Returns:
            The names of the parts that must be computed in every forward; none: the cut is exact.

        Raises:
            CannotCut: The forward is another one even with every tensor in its place.
        """
        kinds = self._by_gradient(cut)
        kinds = {**kinds, **self._by_change(cut, kinds)}
        computed = self._choose(cut, kinds, refusals)
        if computed or (cut.fields and self._is_exact(cut)):
            return computed
        more = self._by_trial(cut, kinds)
        if not {**kinds, **more}:
            raise CannotCut("its head does not look at its frozen part's output")
        computed = self._choose(cut, {**kinds, **more}, refusals)
        if computed or self._is_exact(cut):
            return computed
        raise CannotCut(self._inexact(cut))

    def _by_gradient(self, cut: Cut) -> Kinds:
        """Return the tensors that the gradient of the logits reaches when nothing below the cut is computed."""
        values = self._own_values(cut)
        variables = {site: v.clone().requires_grad_() for site, v in values.items() if v.is_floating_point()}
        probe = self.probes.whole
        try:
            with torch.enable_grad():
                copies = _copies({**values, **variables})
                with cut.answering(copies, probe.inputs, self.expected.device):
                    target = random_projection(probe.logits(self.forward))
                gradients = torch.autograd.grad(target, list(variables.values()), allow_unused=True)
        except REFUSALS as error:
            if out_of_memory(error):
                raise
            return {}
        reached = {site: g for site, g in zip(variables, gradients, strict=True) if g is not None}
        used = {site: g for site, g in reached.items() if bool(g.any())} or reached  # a signal may be lost in rounding
        shapes = _shapes(cut)
        return {site: _kind(g, shapes[site], probe) for site, g in used.items()}

    def _by_change(self, cut: Cut, kinds: Kinds) -> Kinds:
        """Return the masks and other tensors without gradients whose change changes the logits.

        Zeros would not show it: a mask of padding may be zero for all of these examples, and not for others.
        """
        own = self._own_values(cut)
        spare = [site for site, value in own.items() if site not in kinds and not value.is_floating_point()]
        needed = {site: value for site, value in own.items() if site in kinds}

        def matters(sites: list[Site]) -> bool:
            changed = {s: ~own[s] if own[s].dtype == torch.bool else own[s] + 1 for s in sites}
            unchanged = {s: own[s] for s in spare if s not in changed}
            return not self._is_right(cut, {**_copies({**needed, **unchanged}), **changed})

        if not spare or not matters(spare):
            return {}
        return {site: PER_TOKEN for site in spare if matters([site])}

    def _by_trial(self, cut: Cut, kinds: Kinds) -> Kinds:
        """Return further tensors without which the logits are others, tried one after the other."""
        values = self._own_values(cut)
        spare = [site for site in values if site not in kinds]
        if not self._is_right(cut, _copies(values)):
            raise CannotCut("its forward gives other answers when its frozen part is not computed")
        for site in spare:
            without = {other: value for other, value in values.items() if other != site}
            if self._is_right(cut, _copies(without)):
                values = without
        return {site: PER_TOKEN for site in values if site not in kinds}

    def _own_values(self, cut: Cut) -> dict[Site, torch.Tensor]:
        return {site: self.values[site] for site in _shapes(cut) if site in self.values}

    def _traced(self, site: Site) -> list[torch.Tensor]:
        """Return what a part returned in each of the traced forwards."""
        return [own[site] for own in (self.values, *self.others) if site in own]

    def _choose(self, cut: Cut, kinds: Kinds, refusals: list[str]) -> set[str]:
        """Make the needed tensors the cut's fields; return the parts that must be computed instead.

        Those are the parts of tensors that cannot be kept, and tables, whose rows are looked up as fast as kept ones.
        """
        tables = {stub.name for stub in cut.stubs if isinstance(stub.part, nn.Embedding)}
        fields, refused = [], {site[0] for site in kinds} & tables
        for site, shape in _shapes(cut).items():
            if site not in kinds or site[0] in refused:
                continue
            try:
                field = Field.of(*site, kinds[site], shape)
                if field.kind == SHARED and not field.is_shared(self._traced(site)):
                    raise CannotKeep("it does not belong to one example each")
                fields.append(field)
            except CannotKeep as reason:
                refused.add(site[0])
                refusals.append(f"{described(site, shape)} cannot be kept: {reason}")
        cut.fields = fields
        return refused

    def _is_right(self, cut: Cut, values: Mapping[Site, torch.Tensor]) -> bool:
        """Return whether the logits are right when the stubs return these values, and zeros for all others."""
        probe = self.probes.whole
        try:
            with torch.no_grad(), cut.answering(values, probe.inputs, self.expected.device):
                return probe.is_close(probe.logits(self.forward), self.expected)
        except REFUSALS as error:
            if out_of_memory(error):
                raise
            return False

    def _is_exact(self, cut: Cut) -> bool:
        """Return whether the logits are right when the fields come from rows of two smaller batches."""
        probe = self.probes.whole
        sites = [(field.part, field.call, field.leaf) for field in cut.fields]
        captured = [self._capture_rows(cut, part) for part in self.probes.parts]
        values = [
            field.from_rows(field.joined(rows), probe.axes, probe.inputs)
            for field, rows in zip(cut.fields, zip(*captured, strict=True), strict=True)
        ]
        return self._is_right(cut, dict(zip(sites, values, strict=True)))

    def _inexact(self, cut: Cut) -> str:
        """Return why the logits are wrong when the fields come from their rows."""
        sites = {(field.part, field.call, field.leaf) for field in cut.fields}
        given = {site: value for site, value in self._own_values(cut).items() if site in sites}
        kept = " and ".join(described(site, shape) for site, shape in _shapes(cut).items() if site in sites)
        if self._is_right(cut, _copies(given)):
            return f"{kept} cannot be kept: its places of padding are looked at, or depend on the other examples"
        return f"{kept} cannot be kept: its answers are others when they start there"

    def _capture_rows(self, cut: Cut, probe: Probe) -> list[torch.Tensor]:
        values = capture(cut, self.forward, probe.inputs)
        return [field.to_rows(value, probe.axes) for field, value in zip(cut.fields, values, strict=True)]


def _copies(values: Mapping[Site, torch.Tensor]) -> dict[Site, torch.Tensor]:
    """Return copies of tensors, for a forward that may change them."""
    return {site: value.clone() for site, value in values.items()}


def _shapes(cut: Cut) -> dict[Site, Shape | UnknownShape]:
    return dict(pair for stub in cut.stubs for pair in stub.shapes())


def _kind(gradient: torch.Tensor, shape: Shape | UnknownShape, probe: Probe) -> str:
    """Return which tokens a gradient reaches."""
    dims = shape.dims if isinstance(shape, Shape) else ()
    if dims[:1] != (BATCH,) or len(dims) < 2 or dims[1] not in probe.axes:
        return PER_TOKEN
    return token_kind(gradient, probe.axes[str(dims[1])])


def _multiplies(part: nn.Module) -> bool:
    """Return whether a part does more than to look up rows of tables and to norm them: then keeping it saves time."""
    own = [m for m in part.modules() if not isinstance(m, nn.Embedding)]
    return any(p.ndim > 1 for module in own for p in module.parameters(recurse=False))
