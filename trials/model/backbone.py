"""A model as a stack of blocks: the layer index of each parameter, and freezing of the bottom blocks.

Every parameter gets a layer index: 0 for parameters that are defined before the first block and for all embeddings, i
for block i (1 is the bottom one) and for parameters between it and the next, L + 1 for parameters after the last block
and for the head. The blocks of an encoder come before those of its decoder. `freeze_depth = k > 0` freezes the base's
parameters of index 0 to k, and at k = L the whole base. A model whose head has no parameters of its own, as its logits
come from the token table, can be frozen up to the block before the last one.

Trials and the prefix cache use it. It never changes a weight.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from luthier.studies.results import Block
from luthier.studies.semantics import NEWEST_SEMANTICS, POOLER_TRAINED, POSITIONS_FROZEN
from luthier.trials.errors import BadData
from luthier.trials.model.blocks import base_of, find_blocks, head_of, parameter_count, pooler_of


@dataclass(frozen=True)
class Backbone:
    """A model as a stack of blocks.

    Attributes:
        model: The whole model, with its head.
        base: The model without its head.
        names: The blocks' names in the model, bottom first.
        blocks: The blocks, bottom first.
        layers: The layer index of each parameter, 0 to L + 1, by its name.
        unfrozen: Names of the parameters that no depth freezes: the head, the pooler, and those that the checkpoint did
            not hold.
    """

    model: PreTrainedModel
    base: nn.Module
    names: list[str]
    blocks: list[nn.Module]
    layers: dict[str, int]
    unfrozen: frozenset[str]

    @classmethod
    def find(
        cls,
        model: PreTrainedModel,
        fresh: frozenset[str] = frozenset(),
        semantics: int = NEWEST_SEMANTICS,
        *,
        names: Sequence[str] = (),
    ) -> "Backbone":
        """Find a model's blocks.

        Args:
            model: The model.
            fresh: Names of the parameters that the checkpoint did not hold; frozen, they would stay random.
            semantics: The spec's: where a parameter belongs asks for it.
            names: The blocks that a study's inspection found; they are kept where the model has them all.

        Raises:
            BadData: The model has no blocks.
        """
        base = base_of(model)
        modules = dict(model.named_modules())
        kept = [modules[name] for name in names if name in modules]
        own = {id(module): name for name, module in modules.items()}
        pooler = pooler_of(model) if semantics >= POOLER_TRAINED else frozenset()
        unfrozen = head_of(model) | fresh | pooler
        free = {id(p) for name, p in model.named_parameters() if name in fresh}  # a block of these freezes nothing
        found = (block for block in find_blocks(base) if not _all_among(block, free))
        blocks = kept if kept and len(kept) == len(names) else list(found)
        if not any(parameter_count(block) for block in blocks):
            text = f"The layers of {type(model).__name__} cannot be told apart; choose a model built of blocks."
            raise BadData(text, "model")
        layers = _layer_indices(model, base, blocks)
        if semantics >= POSITIONS_FROZEN:
            layers |= dict.fromkeys(_late_positions(model, base, blocks), 0)
        return cls(model, base, [own[id(b)] for b in blocks], blocks, layers, unfrozen)

    @property
    def depth(self) -> int:
        """The most blocks that can be frozen: all, L, or all but the last one where only blocks could train."""
        return len(self.blocks) if self.unfrozen else len(self.blocks) - 1

    def table(self) -> list[Block]:
        """Return the names and numbers of parameters of the blocks that can be frozen, bottom first."""
        blocks = [Block(name=n, parameters=parameter_count(b)) for n, b in zip(self.names, self.blocks, strict=True)]
        return blocks[: self.depth]

    def frozen(self, depth: int) -> frozenset[str]:
        """Return the names of the parameters that freezing the bottom `depth` blocks leaves unchanged."""
        if depth == 0:
            return frozenset()
        return frozenset(
            name
            for name, layer in self.layers.items()
            if name not in self.unfrozen and (layer <= depth or depth == len(self.blocks))
        )

    def trainable_parameters(self) -> list[int]:
        """Return the number of trained parameters at depth 0, 1, ... of those that there are."""
        sizes = {name: p.numel() for name, p in self.model.named_parameters()}
        return [sum(sizes.values()) - sum(sizes[n] for n in self.frozen(k)) for k in range(self.depth + 1)]

    def freeze(self, depth: int) -> None:
        """Freeze the bottom `depth` blocks and the embeddings, and let everything else train.

        Frozen parameters get no gradient; `train_mode` also keeps dropout and batch statistics of frozen parts off.

        Raises:
            ValueError: The model has fewer blocks, or nothing would train.
        """
        if not 0 <= depth <= self.depth:
            raise ValueError(f"freeze_depth must be from 0 to {self.depth}, the most blocks of the model to freeze")
        frozen = self.frozen(depth)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def train_mode(self) -> None:
        """Set training mode for the parts that train, and evaluation mode for frozen parts.

        In evaluation mode dropout is off and batch statistics do not change. Modules that wrap the blocks (an encoder
        whose own forward applies dropout to its input) are in evaluation mode as soon as any parameter is frozen.
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
        """Yield the blocks, and the largest modules of the base that neither wrap a block nor lie in one."""
        wrapping = {id(m) for m in _ancestors(self.base, self.blocks)}
        for module in self.base.modules():
            if id(module) in wrapping:
                for child in module.children():
                    if id(child) not in wrapping:
                        yield from _with_forward(child)


def _all_among(block: nn.Module, parameters: set[int]) -> bool:
    """Return whether a block has parameters, and the ids of all are among these."""
    own = {id(p) for p in block.parameters()}
    return bool(own) and own <= parameters


def _late_positions(model: nn.Module, base: nn.Module, blocks: list[nn.Module]) -> list[str]:
    """Return the names of the parameters that tell blocks of positions, and are defined behind these blocks.

    Blocks are fixed only if their positions are: the norm of DeBERTa-v3's relative ones, and those that YOLOS adds
    between its blocks.
    """
    norms = [m.LayerNorm for m in base.modules() if hasattr(m, "rel_embeddings") and hasattr(m, "LayerNorm")]
    late = {id(p) for norm in norms if isinstance(norm, nn.Module) for p in norm.parameters()}
    late |= {id(p) for name, p in base.named_parameters() if "embed" in name.rpartition(".")[2].lower()}
    late -= {id(p) for block in blocks for p in block.parameters()}
    return [name for name, p in model.named_parameters() if id(p) in late]


def _with_forward(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a module, or the modules in a list or dictionary, which has no forward of its own."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in module.children():
            yield from _with_forward(child)
    else:
        yield module


def _holds(module: nn.Module, blocks: list[nn.Module]) -> bool:
    inside = {id(m) for m in module.modules()}
    return any(id(block) in inside for block in blocks)


def _ancestors(base: nn.Module, blocks: list[nn.Module]) -> Iterator[nn.Module]:
    """Yield the modules of the base that hold a block, the base among them."""
    own = {id(block) for block in blocks}
    holding: dict[int, bool] = {}

    def holds(module: nn.Module) -> bool:
        """Return whether a block is in a module or is the module; each module is looked through once."""
        if id(module) not in holding:
            inside = [holds(child) for child in module.children()]
            holding[id(module)] = id(module) in own or any(inside)
        return holding[id(module)]

    for module in base.modules():
        if holds(module) and id(module) not in own:
            yield module


def _layer_indices(model: nn.Module, base: nn.Module, blocks: list[nn.Module]) -> dict[str, int]:
    """Return each parameter's layer index by its name; modules are numbered in the order of their definition."""
    index: dict[int, int] = {}  # by the parameter's id
    numbered = {id(block): i for i, block in enumerate(blocks, 1)}
    own = {id(p) for block in blocks for p in block.parameters()}

    def walk(module: nn.Module, below: int) -> int:
        """Number the parameters that `module` defines; return the highest block so far."""
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
