"""Finding a model's backbone and its blocks from the structure of its modules, for any architecture.

`Backbone.find` calls it. It changes nothing about a model, and knows no architecture by name.
"""

from torch import nn
from transformers import GradientCheckpointingLayer, PreTrainedModel

LEAST_SHARE = 0.3  # of the base's parameters without token tables: a list of modules with less is not its blocks


def base_of(model: PreTrainedModel) -> nn.Module:
    """Return the backbone: the model's `base_model`, or its largest child if that is the model itself.

    A model that holds an encoder and a decoder side by side (T5) is its own backbone; `head_of` knows its head. One
    that is put together of a backbone and a head of any size (UperNet) names its backbone.
    """
    base = model.base_model
    if isinstance(base, nn.Module) and base is not model:
        return base
    if len(_sides(model)) > 1:
        return model
    named = getattr(model, "backbone", None)
    if isinstance(named, nn.Module):
        return named
    return max(model.children(), key=parameter_count, default=model)


def head_of(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of the head's parameters: those outside the backbone, or behind its last block.

    timm's models have their classifier inside of the backbone. Parameters that the head shares with the backbone, as a
    token table that also gives the logits, are the backbone's.
    """
    base = base_of(model)
    sides = _sides(model)
    if base is model and sides:
        children = list(model.children())
        inside = {id(p) for child in children[: children.index(sides[-1]) + 1] for p in child.parameters()}
        inside |= {id(p) for p in model.parameters(recurse=False)}
    else:
        inside = {id(p) for p in base.parameters()} - _classifier_parameters(base)
    return frozenset(name for name, p in model.named_parameters() if id(p) not in inside)


def pooler_of(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of the parameters of the backbone's pooler, which makes one vector of its tokens' (BERT, ViT).

    Many checkpoints hold one that was never trained: their authors used the tokens' vectors, as sentence embeddings do.
    """
    inside = {id(p) for p in base_of(model).parameters()}
    return frozenset(n for n, p in model.named_parameters() if id(p) in inside and "pooler" in n.split("."))


def _sides(model: PreTrainedModel) -> list[nn.Module]:
    """Return a model's encoder and decoder, in their order; an empty list where it does not have both."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return []
    kinds = GradientCheckpointingLayer
    return [child for child in model.children() if any(isinstance(module, kinds) for module in child.modules())]


def parameter_count(module: nn.Module) -> int:
    """Return the number of a module's parameters, those of its children included."""
    return sum(p.numel() for p in module.parameters())


def find_blocks(base: nn.Module) -> list[nn.Module]:
    """Return the blocks of a backbone, bottom first; an empty list if there are none.

    A stage that holds a stack of blocks of its own is replaced by it (Swin, ResNet, ConvNeXt).
    """
    stack = _outermost_blocks(base)
    inner = [_blocks_of_stage(stage) for stage in stack]
    if not any(len(blocks) > 1 for blocks in inner) or not all(inner):
        return stack
    return [block for blocks in inner for block in blocks]


def _outermost_blocks(base: nn.Module) -> list[nn.Module]:
    """Return the outermost blocks: transformers' own block class, else a large list of modules of one class."""
    layers: list[tuple[str, nn.Module]] = []
    for name, module in base.named_modules():
        nested = any(name.startswith(outer + ".") for outer, _ in layers)
        if isinstance(module, GradientCheckpointingLayer) and not nested:
            layers.append((name, module))
    groups: dict[tuple[str, type], list[nn.Module]] = {}
    for name, module in layers:
        groups.setdefault((name.rpartition(".")[0], type(module)), []).append(module)
    blocks = {id(m) for group in groups.values() if not _is_convolutional(group) for m in group}
    if blocks:
        return [m for _, m in layers if id(m) in blocks]
    total = parameter_count(base) - sum(parameter_count(m) for m in base.modules() if isinstance(m, nn.Embedding))
    for module in base.modules():
        children = list(module.children()) if isinstance(module, nn.ModuleList) else []
        if len({type(child) for child in children}) == 1 and parameter_count(module) >= LEAST_SHARE * total:
            return children
    return _sequential_blocks(base, total)


def _sequential_blocks(base: nn.Module, total: int) -> list[nn.Module]:
    """Return the blocks of a model without lists, as timm writes them: of several sequences (ResNet), or of one.

    Args:
        base: The backbone.
        total: Its number of parameters without token tables.
    """
    classifier = _classifier_parameters(base)
    children = [c for c in base.children() if any(id(p) not in classifier for p in c.parameters())]
    stages = [child for child in children if _uniform_children(child)]
    if len(stages) > 1 and sum(map(parameter_count, stages)) >= LEAST_SHARE * total:
        return stages
    for module in base.modules():
        uniform = _uniform_children(module)
        if len(uniform) > 1 and parameter_count(module) >= LEAST_SHARE * total:
            return uniform
    return [block for child in children for block in _uniform_children(child) or _layers_of(child)]


def _blocks_of_stage(stage: nn.Module) -> list[nn.Module]:
    """Return the blocks of a stage: its largest direct list of like modules, if most of the stage lies in it."""
    if isinstance(stage, nn.ModuleList):  # Funnel's stages are bare lists
        return list(stage)
    if isinstance(stage, nn.Sequential):  # those of timm's ResNet and EfficientNet are bare sequences
        return _uniform_children(stage)
    lists = [
        list(child)
        for child in stage.children()
        if isinstance(child, nn.ModuleList | nn.Sequential) and len(child) and len({type(m) for m in child}) == 1
    ]
    largest = max(lists, key=lambda modules: sum(map(parameter_count, modules)), default=[])
    return largest if sum(map(parameter_count, largest)) > 0.5 * parameter_count(stage) else []


def _uniform_children(module: nn.Module) -> list[nn.Module]:
    """Return the children of a sequence that hold parameters, if all are of one class; else an empty list."""
    children = [c for c in module.children() if parameter_count(c)] if isinstance(module, nn.Sequential) else []
    return children if len({type(child) for child in children}) == 1 else []


def _layers_of(module: nn.Module) -> list[nn.Module]:
    """Return the layers of a sequence of several kinds without the norms between them (VGG, DenseNet); else itself."""
    children = [c for c in module.children() if parameter_count(c)] if isinstance(module, nn.Sequential) else []
    layers = [c for c in children if any(p.dim() > 1 for p in c.parameters())]  # a norm has vectors only
    return layers if len(layers) > 1 else [module]


def _is_convolutional(group: list[nn.Module]) -> bool:
    """Return whether these are the convolutions by which a speech model turns its waveform into frames."""
    kinds = {type(m) for block in group for m in block.modules() if next(m.parameters(recurse=False), None) is not None}
    return not any(issubclass(kind, nn.Linear) for kind in kinds) and any(issubclass(k, nn.Conv1d) for k in kinds)


def _classifier_parameters(base: nn.Module) -> set[int]:
    """Return the ids of the parameters of the classifier, which timm's models name; else an empty set."""
    get_classifier = getattr(base, "get_classifier", None)
    classifier = () if get_classifier is None else get_classifier()
    modules = classifier if isinstance(classifier, tuple) else (classifier,)  # a distilled model has two
    return {id(p) for module in modules if isinstance(module, nn.Module) for p in module.parameters()}
