"""The blocks of any backbone, found from the model's own structure, and freezing of the bottom ones.

Every parameter gets a layer index: 0 for what is defined before the first block and for all embeddings, i for
block i (1 is the bottom one) and what lies between it and the next, L + 1 for what comes after the last block and
for the head. `freeze_depth = k > 0` freezes the base's parameters of index 0 to k, and at k = L the whole base.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.studies.results import Block
from luthier.trials.errors import BadData

LEAST_SHARE = 0.3  # of the base's parameters without token tables, for a list of modules to count as its blocks


def base_of(model: nn.Module) -> nn.Module:
    """The backbone: the model's `base_model`, or its largest child where that is the model itself."""
    base = model.base_model
    if isinstance(base, nn.Module) and base is not model:
        return base
    return max(model.children(), key=_size, default=model)


def head_of(model: nn.Module) -> frozenset[str]:
    """Names of the parameters outside the backbone; timm's models hold their classifier inside of it."""
    base = base_of(model)
    inside = {id(p) for p in base.parameters()} - _classifier(base)
    return frozenset(name for name, p in model.named_parameters() if id(p) not in inside)


def _classifier(base: nn.Module) -> set[int]:
    """Ids of the parameters of the classifier that timm's models tell."""
    told = base.get_classifier() if hasattr(base, "get_classifier") else ()
    modules = told if isinstance(told, tuple) else (told,)  # of a distilled model two
    return {id(p) for module in modules if isinstance(module, nn.Module) for p in module.parameters()}


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class Backbone:
    """A model seen as a stack. Raises BadData on `find` when no blocks can be found."""

    model: nn.Module
    base: nn.Module
    names: list[str]  # of the blocks in the model, bottom first
    blocks: list[nn.Module]
    layers: dict[str, int]  # parameter name -> layer index, 0 to L + 1
    unfrozen: frozenset[str]  # parameters no depth freezes: the head, and what the checkpoint did not hold

    @classmethod
    def find(cls, model: nn.Module, fresh: frozenset[str] = frozenset()) -> "Backbone":
        """`fresh`: parameters that were not in the checkpoint; frozen at random they would be noise."""
        base = base_of(model)
        blocks = _expanded(_stack(base))
        if not blocks or not any(_size(block) for block in blocks):
            text = f"The layers of {type(model).__name__} cannot be told apart; choose a model built of blocks."
            raise BadData(text, "model")
        names = {id(module): name for name, module in model.named_modules()}
        layers = _layers(model, base, blocks)
        return cls(model, base, [names[id(b)] for b in blocks], blocks, layers, head_of(model) | fresh)

    @property
    def depth(self) -> int:
        return len(self.blocks)

    def table(self) -> list[Block]:
        return [Block(name=name, parameters=_size(b)) for name, b in zip(self.names, self.blocks, strict=True)]

    def frozen(self, depth: int) -> frozenset[str]:
        """Names of the parameters that freezing the bottom `depth` blocks leaves as they are."""
        if depth == 0:
            return frozenset()
        return frozenset(
            name
            for name, layer in self.layers.items()
            if name not in self.unfrozen and (layer <= depth or depth == self.depth)
        )

    def trainable_parameters(self) -> list[int]:
        """Parameters trained at depth 0, 1, ... L."""
        sizes = {name: p.numel() for name, p in self.model.named_parameters()}
        return [sum(sizes.values()) - sum(sizes[n] for n in self.frozen(k)) for k in range(self.depth + 1)]

    def freeze(self, depth: int) -> None:
        """Freeze the bottom `depth` blocks, embeddings included. `train_mode` keeps what they compute fixed."""
        if not 0 <= depth <= self.depth:
            raise ValueError(f"freeze_depth must be from 0 to {self.depth}, the model's number of blocks")
        frozen = self.frozen(depth)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def train_mode(self) -> None:
        """Training mode for what trains, evaluation mode for the rest: there dropout is off and batch statistics stay.

        What wraps the blocks (an encoder whose own forward applies dropout to its input) follows the bottom one.
        """
        self.model.train()
        if all(p.requires_grad for p in self.base.parameters()):
            return
        wrapping = {id(m) for m in _ancestors(self.base, self.blocks)}
        for module in self.base.modules():
            if id(module) in wrapping:
                module.training = False
        for module in self.parts():
            module.train(any(p.requires_grad for p in module.parameters()))

    def parts(self) -> Iterator[nn.Module]:
        """The blocks, and the largest modules of the base that neither wrap a block nor lie in one."""
        wrapping = {id(m) for m in _ancestors(self.base, self.blocks)}
        for module in self.base.modules():
            if id(module) in wrapping:
                for child in module.children():
                    if id(child) not in wrapping:
                        yield from _called(child)


def _called(module: nn.Module) -> Iterator[nn.Module]:
    """A module, or for a list, which has no forward of its own, those in it."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in module.children():
            yield from _called(child)
    else:
        yield module


def _holds(module: nn.Module, blocks: list[nn.Module]) -> bool:
    inside = {id(m) for m in module.modules()}
    return any(id(block) in inside for block in blocks)


def _ancestors(base: nn.Module, blocks: list[nn.Module]) -> Iterator[nn.Module]:
    """Modules of the base that hold a block, the base among them."""
    own = {id(block) for block in blocks}
    for module in base.modules():
        if id(module) not in own and _holds(module, blocks):
            yield module


def _layers(model: nn.Module, base: nn.Module, blocks: list[nn.Module]) -> dict[str, int]:
    """Parameter name -> layer index, in order of definition."""
    index: dict[int, int] = {}  # by the parameter's id
    numbered = {id(block): i for i, block in enumerate(blocks, 1)}
    own = {id(p) for block in blocks for p in block.parameters()}

    def walk(module: nn.Module, below: int) -> int:
        """Number what is defined in `module`; return the highest block met so far."""
        below = numbered.get(id(module), below)
        for p in module.parameters(recurse=False):
            if id(p) in own or below < len(blocks):
                index.setdefault(id(p), below)
            else:
                index.setdefault(id(p), len(blocks) + 1)
        for child in module.children():
            below = walk(child, below)
        return below

    walk(base, 0)
    for name, module in base.named_modules():  # BART defines the norm of its embeddings behind its blocks
        if isinstance(module, nn.Embedding) or "embed" in name.lower():
            index |= {id(p): 0 for p in module.parameters() if id(p) not in own and not _holds(module, blocks)}
    return {name: index.get(id(p), len(blocks) + 1) for name, p in model.named_parameters()}


def _stack(base: nn.Module) -> list[nn.Module]:
    """The outermost blocks, bottom first."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in base.named_modules():
        nested = any(name.startswith(outer + ".") for outer, _ in found)
        if isinstance(module, GradientCheckpointingLayer) and not nested:
            found.append((name, module))
    stacked: dict[tuple[str, type], list[nn.Module]] = {}
    for name, module in found:
        stacked.setdefault((name.rpartition(".")[0], type(module)), []).append(module)
    kept = {id(m) for group in stacked.values() if not _convolutional(group) for m in group}
    if kept:
        return [m for _, m in found if id(m) in kept]
    total = _size(base) - sum(_size(m) for m in base.modules() if isinstance(m, nn.Embedding))
    for module in base.modules():
        children = list(module.children()) if isinstance(module, nn.ModuleList) else []
        if len({type(child) for child in children}) == 1 and _size(module) >= LEAST_SHARE * total:
            return children
    return _sequential(base, total)


def _sequential(base: nn.Module, total: int) -> list[nn.Module]:
    """The blocks of a model without lists, as timm writes them: several sequences (ResNet), one, or what there is."""
    classifier = _classifier(base)
    children = [c for c in base.children() if any(id(p) not in classifier for p in c.parameters())]
    stages = [child for child in children if _alike(child)]
    if len(stages) > 1 and sum(map(_size, stages)) >= LEAST_SHARE * total:
        return stages
    for module in base.modules():
        if isinstance(module, nn.Sequential) and len(_alike(module)) > 1 and _size(module) >= LEAST_SHARE * total:
            return _alike(module)
    return [block for child in children for block in _alike(child) or [child]]


def _alike(module: nn.Module) -> list[nn.Module]:
    """The children of a sequence that hold parameters, where they are all of one kind; else nothing."""
    children = [child for child in module.children() if _size(child)] if isinstance(module, nn.Sequential) else []
    return children if len({type(child) for child in children}) == 1 else []


def _convolutional(group: list[nn.Module]) -> bool:
    """Whether these are the convolutions a speech model turns its waveform into frames with."""
    kinds = {type(m) for block in group for m in block.modules() if next(m.parameters(recurse=False), None) is not None}
    return not any(issubclass(kind, nn.Linear) for kind in kinds) and any(issubclass(k, nn.Conv1d) for k in kinds)


def _expanded(stack: list[nn.Module]) -> list[nn.Module]:
    """Stages that hold a stack of their own are replaced by it (Swin, ResNet, ConvNeXt)."""
    inner = [_inner(stage) for stage in stack]
    if not any(len(blocks) > 1 for blocks in inner) or not all(inner):
        return stack
    return [block for blocks in inner for block in blocks]


def _inner(stage: nn.Module) -> list[nn.Module]:
    """The blocks of a stage: its largest direct list of like modules, when most of the stage lies in it."""
    if isinstance(stage, nn.ModuleList):  # Funnel's stages are bare lists
        return list(stage)
    if isinstance(stage, nn.Sequential):  # those of timm's ResNet and EfficientNet are bare sequences
        return _alike(stage)
    lists = [
        list(child)
        for child in stage.children()
        if isinstance(child, nn.ModuleList | nn.Sequential) and len(child) and len({type(m) for m in child}) == 1
    ]
    largest = max(lists, key=lambda modules: sum(map(_size, modules)), default=[])
    return largest if sum(map(_size, largest)) > 0.5 * _size(stage) else []
