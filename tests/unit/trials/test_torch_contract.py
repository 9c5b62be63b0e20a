"""The names and habits of torch that it does not promise to keep, one test each: an upgrade fails here first."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree

from luthier.trials.model.dropout import _Dropout, enable_shortcuts
from luthier.trials.model.fresh import DROPOUTS


class Block(nn.Module):
    """A module that returns a structure, as the blocks of transformers do."""

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, dict[str, Any]]:
        return hidden + 1, {"mask": mask, "name": "block"}


def test_pytree_flattens_what_modules_take_and_return() -> None:
    a, b = torch.zeros(1), torch.ones(2)
    structure = ((a, None), {"mask": b, "cache": [a, "text"]})
    leaves, spec = _pytree.tree_flatten(structure)
    sentence = "torch.utils._pytree flattens otherwise: trials/prefix/shapes.py and cut.py number leaves by its order"
    assert [id(leaf) for leaf in leaves] == [id(a), id(None), id(b), id(a), id(leaves[4])], sentence
    assert leaves[4] == "text", sentence
    assert _pytree.tree_unflatten(leaves, spec) == structure, sentence
    assert _pytree.tree_flatten(((b, None), {"mask": a, "cache": [b, "other"]}))[1] == spec, sentence
    assert _pytree.tree_flatten(((a, None), {"mask": b}))[1] != spec, sentence


def test_pytree_maps_leaves_and_keeps_the_structure() -> None:
    mapped = _pytree.tree_map(lambda leaf: leaf if leaf is None else leaf * 2, ((1, None), {"a": [2]}))
    assert mapped == ((2, None), {"a": [4]}), (
        "torch.utils._pytree.tree_map maps otherwise: unpadding.py and first_token.py in trials/prefix rest on it"
    )


def test_hooks_may_replace_arguments_and_results() -> None:
    block, seen = Block(), []
    handles = [
        block.register_forward_pre_hook(lambda _, args, kwargs: ((args[0] * 0,), kwargs), with_kwargs=True),
        block.register_forward_hook(lambda _, args, kwargs, output: seen.append(kwargs), with_kwargs=True),
        block.register_forward_hook(lambda _, args, output: (output[0] * 10, *output[1:])),
    ]
    hidden, rest = block(torch.full((2,), 7.0), mask=None)
    for handle in handles:
        handle.remove()
    sentence = "hooks of modules work otherwise: cuts, unpadding and first-token-only in trials/prefix rest on them"
    assert hidden.tolist() == [10.0, 10.0], sentence
    assert rest["name"] == "block", sentence
    assert seen == [{"mask": None}], sentence
    assert block(torch.zeros(1))[0].tolist() == [1.0], sentence


def test_a_hook_may_leave_a_forward_by_an_exception() -> None:
    class Reached(Exception):
        pass

    def stop(module: nn.Module, args: Any) -> None:
        raise Reached

    block = Block()
    handle = block.register_forward_pre_hook(stop)
    try:
        block(torch.zeros(1))
    except Reached:
        reached = True
    handle.remove()
    assert reached, "a hook's exception does not come through: trials/prefix/cut.py ends a forward at the cut by one"
    assert block(torch.zeros(1))[0].tolist() == [1.0]


def test_a_tensor_counts_its_changes_in_place_also_without_gradients() -> None:
    sentence = "_version no longer counts changes: trials/prefix/trace.py tells by it what a part returned unchanged"
    with torch.no_grad():
        tensor = torch.zeros(3)
        before = tensor._version
        assert tensor.view(3)._version == before, sentence
        tensor += 1
        assert tensor._version > before, sentence


def test_an_instances_forward_goes_before_its_classs() -> None:
    embedding = nn.Embedding(4, 2)
    called: list[str] = []
    embedding.register_forward_hook(lambda *_: called.append("hook"))
    embedding.forward = lambda ids: torch.zeros(len(ids))
    sentence = (
        "a module no longer calls a `forward` set on the instance: trials/training/compact_embeddings.py and "
        "trials/prefix/shapes.py set one"
    )
    assert embedding(torch.tensor([1, 2])).shape == (2,), sentence
    assert called == ["hook"], sentence
    del embedding.forward
    assert embedding(torch.tensor([1, 2])).shape == (2, 2), sentence


def test_a_modules_class_may_be_exchanged_in_place() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.25))
    enable_shortcuts(model)
    layer = model[1]
    sentence = "the class of a module cannot be exchanged any more: trials/model/dropout.py does that to dropout layers"
    assert type(layer) is _Dropout, sentence
    assert isinstance(layer, nn.Dropout), sentence
    assert layer.p == 0.25, sentence
    assert layer.eval()(torch.ones(3)).tolist() == [1.0, 1.0, 1.0], sentence


def test_every_dropout_layer_is_known() -> None:
    kinds = {kind for kind in _DropoutNd.__subclasses__() if kind.__module__ == _DropoutNd.__module__}
    assert kinds == set(DROPOUTS), (
        "torch has other dropout layers: trials/model/fresh.py sets the dropout probability of those that it lists"
    )


def test_every_batch_norm_has_one_base() -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    assert all(issubclass(kind, _BatchNorm) for kind in kinds), (
        "torch.nn.modules.batchnorm._BatchNorm is no longer the base of all batch norms: "
        "trials/tasks/image_classification.py finds them by it"
    )


def test_a_layer_computes_with_what_its_parameters_hold() -> None:
    """`WeightCopies` puts copies in another number format there for a forward and backward pass."""
    layer = nn.Linear(2, 2, bias=False)
    weight, copy = layer.weight, torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    layer._parameters["weight"] = copy  # type: ignore[assignment]
    output = layer(torch.ones(1, 2, dtype=torch.bfloat16))
    output.sum().backward()
    assert output.dtype == torch.bfloat16
    assert copy.grad is not None
    layer._parameters["weight"] = weight
    assert layer.weight is weight
    assert weight.grad is None
